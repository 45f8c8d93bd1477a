//! series TERMS: the sum 1 + 1/2 + … + 1/TERMS, exactly, as a fraction of whole numbers of any size.
use std::{env, fs, process};

/// A whole number, digits to the base 10^9, the lowest first.
#[derive(Clone)]
struct Natural(Vec<u64>);

const BASE: u64 = 1_000_000_000;

impl Natural {
    fn from(value: u64) -> Natural {
        Natural(vec![value % BASE, value / BASE])
    }

    fn times(&self, factor: u64) -> Natural {
        let (mut digits, mut carry) = (Vec::new(), 0);
        for digit in &self.0 {
            let product = digit * factor + carry;
            digits.push(product % BASE);
            carry = product / BASE;
        }
        digits.push(carry);
        while digits.len() > 1 && digits.last() == Some(&0) {
            digits.pop();
        }
        Natural(digits)
    }

    fn plus(&self, other: &Natural) -> Natural {
        let (mut digits, mut carry) = (Vec::new(), 0);
        for place in 0..self.0.len().max(other.0.len()) {
            let sum = self.0.get(place).unwrap_or(&0) + other.0.get(place).unwrap_or(&0) + carry;
            digits.push(sum % BASE);
            carry = sum / BASE;
        }
        digits.push(carry);
        while digits.len() > 1 && digits.last() == Some(&0) {
            digits.pop();
        }
        Natural(digits)
    }

    fn text(&self) -> String {
        let mut parts = self.0.iter().rev();
        let mut text = parts.next().map(u64::to_string).unwrap_or_default();
        for digit in parts {
            text += &format!("{digit:09}");
        }
        text
    }
}

fn main() {
    let terms: u64 = match env::args().nth(1).and_then(|text| text.parse().ok()) {
        Some(terms) if (1..=5_000).contains(&terms) => terms,
        _ => {
            eprintln!("usage: series TERMS, 1 to 5000");
            process::exit(2);
        }
    };
    let (mut above, mut below) = (Natural::from(1), Natural::from(1));
    for term in 2..=terms {
        above = above.times(term).plus(&below);
        below = below.times(term);
    }
    fs::write("fraction.txt", format!("{}/{}\n", above.text(), below.text())).expect("the output folder takes a file");
    println!("{} digits over {}", above.text().len(), below.text().len());
}
