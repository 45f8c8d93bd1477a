"use strict";

// Draws what /dashboard/events tells. No library, no other origin, no cookie.
const LONGEST = 1800;
const history = { at: [], tasksPerS: [], waiting: [], computing: [], workers: [], busy: [], paidNrlc: [] };
let last = null;

const byId = (name) => document.getElementById(name);
const say = (name, text) => { byId(name).textContent = text; };
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const grouped = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const rlc = (nrlc) => grouped(Number(nrlc) / 1e9, Number(nrlc) < 1e6 ? 9 : Number(nrlc) < 1e11 ? 4 : 1);

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${grouped(seconds / 3600, 1)} h`;
}

function remember(numbers) {
  const rate = last && numbers.at > last.at ? (numbers.completed - last.completed) / (numbers.at - last.at) : 0;
  const sample = {
    at: numbers.at, tasksPerS: Math.max(rate, 0), waiting: numbers.unbegunTasks + numbers.waitingTasks,
    computing: numbers.computing, workers: sum(numbers.workers), busy: numbers.workers.busy,
    paidNrlc: Number(numbers.paidNrlc),
  };
  for (const [name, values] of Object.entries(history)) {
    values.push(sample[name]);
    if (values.length > LONGEST) values.shift();
  }
}

function show(numbers) {
  if (numbers.history) {
    for (const name of Object.keys(history)) history[name] = numbers.history[name].slice();
  } else {
    remember(numbers);
  }
  last = numbers;
  say("tasksPerS", grouped(numbers.tasksPerS, 2));
  say("queue", grouped(numbers.unbegunTasks + numbers.waitingTasks));
  say("oldest", duration(numbers.oldestWaitS));
  say("computing", grouped(numbers.computing));
  say("workers", grouped(sum(numbers.workers)));
  say("owners", grouped(numbers.owners));
  say("completed", grouped(numbers.completed));
  say("paid", rlc(numbers.paidNrlc));
  say("earned", rlc(numbers.earnedNrlc));
  say("perHour", rlc(numbers.paidNrlcPerHour));
  say("cpu", grouped(numbers.cpuS / 3600, 1));
  say("sent", grouped(numbers.transactionsUnderWay));
  say("owed", rlc(numbers.sponsoredOwedNrlc));
  const silent = numbers.chainSilenceS > 30;
  say("state", silent ? `The chain has not answered for ${duration(numbers.chainSilenceS)}.` : "Live");
  const items = Object.entries(numbers.tasks).map(([phase, count]) => {
    const item = document.createElement("li");
    item.textContent = `${phase} ${grouped(count)}`;
    return item;
  });
  byId("phases").replaceChildren(...items);
  drawAll();
}

function draw(name, lines) {
  const canvas = byId(name);
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const highest = Math.max(...lines.flatMap(([values]) => values), 0) || 1;
  const [left, bottom] = [44, 18];
  const times = history.at;
  const span = Math.max(times.at(-1) - times[0], 1);
  const x = (place) => left + (width - left - 4) * (times[place] - times[0]) / span;
  const y = (value) => 6 + (height - bottom - 6) * (1 - value / highest);
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = pen.strokeStyle = style.getPropertyValue("--soft");
  pen.lineWidth = 0.5;
  for (const part of [0, 0.5, 1]) {
    pen.beginPath();
    pen.moveTo(left, y(highest * part));
    pen.lineTo(width - 4, y(highest * part));
    pen.stroke();
    pen.fillText(short(highest * part), 2, y(highest * part) + 4);
  }
  pen.fillText(`${duration(span)} ago`, left, height - 4);
  pen.textAlign = "right";
  pen.fillText("now", width - 4, height - 4);
  pen.lineWidth = 1.8;
  for (const [values, colour] of lines) {
    pen.strokeStyle = style.getPropertyValue(colour);
    pen.beginPath();
    values.forEach((value, place) => pen[place ? "lineTo" : "moveTo"](x(place), y(value)));
    pen.stroke();
  }
}

function short(value) {
  if (value >= 1e6) return `${grouped(value / 1e6, 1)} M`;
  if (value >= 1e4) return `${grouped(value / 1e3, 1)} k`;
  if (value > 0 && value < 0.01) return value.toExponential(0);
  return grouped(value, value < 10 ? 2 : 0);
}

function drawAll() {
  if (!history.at.length) return;
  draw("plot-tasksPerS", [[history.tasksPerS, "--one"]]);
  draw("plot-queue", [[history.waiting, "--one"], [history.computing, "--two"]]);
  draw("plot-workers", [[history.workers, "--one"], [history.busy, "--two"]]);
  draw("plot-money", [[history.paidNrlc.map((nrlc) => nrlc / 1e9), "--one"]]);
}

async function poll() {
  try {
    const answer = await fetch("dashboard/numbers");
    show(await answer.json());
  } catch {
    say("state", "The pool does not answer; trying again.");
  }
  setTimeout(poll, 10000);
}

const source = new EventSource("dashboard/events");
source.onmessage = (event) => show(JSON.parse(event.data));
source.onerror = () => {
  say("state", "The pool does not answer; trying again.");
  // Refused for good, for example because too many look on: ask now and then instead.
  if (source.readyState === EventSource.CLOSED) setTimeout(poll, 2000);
};
window.addEventListener("resize", drawAll);
