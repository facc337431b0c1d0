package compat

import (
	"fmt"
	"strings"
	"testing"
)

// However many names an object has, each is known when it comes again.
func TestScan_FindsEveryDuplicate(t *testing.T) {
	for _, n := range []int{1, 2, 15, 16, 17, 18, 63, 64, 65, 66, 128, 129, 300} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%d":{"0":0},`, i)
		}
		if err := scans([]byte("{" + b.String() + `"x":0}`)); err != nil {
			t.Fatalf("%d names: %v", n, err)
		}
		for twice := range n {
			digits := fmt.Sprint(twice)
			for _, again := range []string{`"` + digits + `":0`, `"\u003` + digits + `":0`} { // \u0031 is 1
				if scans([]byte("{"+b.String()+again+"}")) == nil {
					t.Errorf("%s passed behind %d names", again, n)
				}
			}
		}
	}
}

func TestAppendText_LeavesWhatIsNoEscape(t *testing.T) {
	for raw, want := range map[string]string{
		`\x41`: `\x41`, `a\`: `a\`, `\u12`: `\u12`, `\u00e9`: "é", `\ud83d\ude00\ud83d`: "😀\uFFFD", `\ude00A`: "\uFFFDA",
		`\b\f\n\r\t\/\"\\`: "\b\f\n\r\t/\"\\",
	} {
		if got := string(AppendText(nil, []byte(raw))); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

func TestBase64Run_StopsAtWhatTheLibraryRefuses(t *testing.T) {
	for position := range 40 {
		for c := range 256 {
			text := []byte(strings.Repeat("Ab+/z09aZ", 5)[:40])
			text[position] = byte(c)
			want := len(text)
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", rune(c)) {
				want = position
			}
			if got := base64Run(text); got != want {
				t.Errorf("byte %#x at %d: got %v, want %v", c, position, got, want)
			}
		}
	}
}
