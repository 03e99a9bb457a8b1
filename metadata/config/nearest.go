package config

import "strings"

// Nearest is the known key most like name, for error messages; "" when none
// is near enough to be meant. A key with the same words in another order
// (bytes.segment), or one that name is a part of, counts as near.
func Nearest(s Scope, name string) string {
	if t := registry[TopicScope].byName[name]; s == BrokerScope && t != nil {
		return t.Synonym // a topic's key in a broker's file
	}
	best, bestCost := "", len(name)/3+2
	for _, k := range registry[s].sorted {
		if cost := distance(normal(name), normal(k.Name), bestCost); cost < bestCost {
			best, bestCost = k.Name, cost
		}
	}
	if best != "" {
		return best
	}
	return nearestByWords(s, name)
}

// normal folds what people mix up: case and separators.
func normal(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return '.'
		}
		return r
	}, strings.ToLower(name))
}

// nearestByWords finds the key that begins with name, or shares the most words with it: at least half of them.
func nearestByWords(s Scope, name string) string {
	words := strings.Split(normal(name), ".")
	best, bestScore := "", 0
	for _, k := range registry[s].sorted {
		parts := strings.Split(k.Name, ".")
		shared := 0
		for _, w := range words {
			for _, p := range parts {
				if w == p {
					shared++
					break
				}
			}
		}
		// Of keys that share as many words, the shortest says the least that was not asked for.
		score := shared*100 - len(parts)
		near := shared >= 2 || strings.HasPrefix(k.Name, normal(name)+".")
		if near && 2*shared >= len(words) && score > bestScore {
			best, bestScore = k.Name, score
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (adjacent letters swapped count once), or at least limit when it is not below it.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		prev2, prev, row = prev, row, prev2
	}
	return min(prev[len(b)], limit)
}
