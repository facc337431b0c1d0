// Command draw makes the pages in samples/, each with its true text beside it.
//
// The layouts are written out in this program, so what a page says is known to
// the letter and anyone can draw it again (`make samples`). The same fonts give
// the same bytes: the dirt on the scan comes from a fixed seed.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"

	"ocrmux/test/pages"
)

// sample is one page: the name of its picture and the function that draws it.
type sample struct {
	file string
	draw func() (pages.Page, error)
}

var samples = []sample{
	{"receipt-en.png", receipt},
	{"notice-zh.png", notice},
	{"table.png", table},
	{"scan.jpg", scan},
}

func main() {
	folder := flag.String("o", "samples", "folder to write the pages into")
	flag.Parse()
	for _, each := range samples {
		if err := each.write(*folder); err != nil {
			fmt.Fprintf(os.Stderr, "draw: %s: %v\n", each.file, err)
			os.Exit(1)
		}
	}
}

func (s sample) write(folder string) error {
	page, err := s.draw()
	if err != nil {
		return err
	}
	picture, err := encode(s.file, page)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, s.file), picture, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, textFile(s.file)), []byte(page.Text), 0o644)
}

// textFile names the file that holds a picture's true text.
func textFile(picture string) string {
	return picture[:len(picture)-len(filepath.Ext(picture))] + ".txt"
}

// encode writes clean pages as PNG and photographs of paper as JPEG, where PNG
// would spend most of its bytes on the noise.
func encode(file string, page pages.Page) ([]byte, error) {
	if filepath.Ext(file) == ".png" {
		return page.PNG(), nil
	}
	var picture bytes.Buffer
	err := jpeg.Encode(&picture, page.Image, &jpeg.Options{Quality: 60})
	return picture.Bytes(), err
}
