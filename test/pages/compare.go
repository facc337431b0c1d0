package pages

import (
	"strings"
	"unicode"
)

// CharacterError is the share of characters that are wrong in got: the edits
// (insert, delete, replace one character) that turn it into want, divided by
// the length of want. 0 is a perfect reading; it can exceed 1.
//
// White space is not what is read: where want has Chinese in it, all white space
// is dropped, since recognisers put spaces between ideographs that no page
// shows; elsewhere a run of it counts as one space. An empty want gives 0 for an
// empty got and 1 for anything else.
func CharacterError(got, want string) float64 {
	separator := " "
	if strings.ContainsFunc(want, isIdeograph) {
		separator = ""
	}
	gotRunes := []rune(strings.Join(strings.Fields(got), separator))
	wantRunes := []rune(strings.Join(strings.Fields(want), separator))
	if len(wantRunes) == 0 {
		return float64(min(len(gotRunes), 1))
	}
	return float64(edits(gotRunes, wantRunes)) / float64(len(wantRunes))
}

func isIdeograph(r rune) bool { return unicode.Is(unicode.Han, r) }

// edits is the Levenshtein distance, kept in one row of its table.
func edits(from, to []rune) int {
	row := make([]int, len(to)+1)
	for column := range row {
		row[column] = column
	}
	for i, have := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, need := range to {
			replace := diagonal
			if have != need {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(to)]
}
