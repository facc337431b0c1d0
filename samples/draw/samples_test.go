package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ocrmux/test/pages"
)

func TestSamples_AreSmallAndReadableAndSayWhatTheProgramWrote(t *testing.T) {
	bounds := map[string]float64{"receipt-en.png": 0.01, "notice-zh.png": 0.06, "table.png": 0.02, "scan.jpg": 0.02}
	for _, each := range samples {
		t.Run(each.file, func(t *testing.T) {
			page, err := each.draw()
			if err != nil {
				t.Fatal(err)
			}
			kept := filepath.Join("..", each.file)
			text, err := os.ReadFile(textFile(kept))
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != page.Text {
				t.Errorf("%s is not what the program writes; run `make samples`", textFile(each.file))
			}
			if info, err := os.Stat(kept); err != nil || info.Size() > 300_000 {
				t.Errorf("%s: %v, want at most 300,000 bytes", each.file, info)
			}
			tesseract := exec.CommandContext(t.Context(), "tesseract", kept, "stdout", "-l", "eng+chi_tra", "--psm", "6")
			tesseract.Env = append(tesseract.Environ(), "OMP_THREAD_LIMIT=1")
			read, err := tesseract.Output()
			if err != nil {
				t.Fatalf("tesseract: %v", err)
			}
			share := pages.CharacterError(string(read), page.Text)
			t.Logf("character error %.2f %%", 100*share)
			if share > bounds[each.file] {
				t.Errorf("character error %.3f, want at most %.3f; read:\n%s", share, bounds[each.file], read)
			}
		})
	}
}

func TestSamples_DrawnTwiceAreTheSameBytes(t *testing.T) {
	for _, each := range samples {
		var pictures [2][]byte
		for i := range pictures {
			page, err := each.draw()
			if err != nil {
				t.Fatal(err)
			}
			if pictures[i], err = encode(each.file, page); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(pictures[0], pictures[1]) {
			t.Errorf("%s differs from one run to the next", each.file)
		}
	}
}
