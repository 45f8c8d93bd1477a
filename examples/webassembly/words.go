// words FILE: the most frequent words of a text, counted by four goroutines.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
	"unicode"
)

func count(lines <-chan string, done chan<- map[string]int) {
	found := map[string]int{}
	for line := range lines {
		for _, word := range strings.FieldsFunc(strings.ToLower(line), func(letter rune) bool { return !unicode.IsLetter(letter) }) {
			found[word]++
		}
	}
	done <- found
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: words FILE")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines, done := make(chan string), make(chan map[string]int)
	const counters = 4
	for number := 0; number < counters; number++ {
		go count(lines, done)
	}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		lines <- scanner.Text()
	}
	close(lines)
	total := map[string]int{}
	for number := 0; number < counters; number++ {
		for word, times := range <-done {
			total[word] += times
		}
	}
	words := make([]string, 0, len(total))
	for word := range total {
		words = append(words, word)
	}
	sort.Slice(words, func(a, b int) bool {
		if total[words[a]] != total[words[b]] {
			return total[words[a]] > total[words[b]]
		}
		return words[a] < words[b]
	})
	var table strings.Builder
	for _, word := range words {
		fmt.Fprintf(&table, "%s\t%d\n", word, total[word])
	}
	if err := os.WriteFile("words.tsv", []byte(table.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(len(words), "words")
}
