package sim

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Tesseract reads pages with the program of that name: real text without a GPU,
// though not DeepSeek-OCR's. Every page is one child process that gets the
// image through its standard input and is killed when the request ends.
type Tesseract struct {
	program string
	seats   chan struct{}
}

const (
	// The order matters: the other way round eight times as many characters of
	// small Chinese print were wrong, and English was right either way.
	tesseractLanguages = "chi_tra+eng"
	// Mode 6 takes the page for one block of lines. On drawn pages of random
	// words it was the most accurate of 3, 4 and 6, and the only one that keeps
	// the columns of a receipt on their lines.
	tesseractPageMode = "6"
	tesseractStartup  = 10 * time.Second
)

// NewTesseract looks for the program and its languages and allows workers
// processes at once; zero is one for every CPU.
func NewTesseract(workers int) (*Tesseract, error) {
	program, err := exec.LookPath("tesseract")
	if err != nil {
		return nil, fmt.Errorf("tesseract is not installed; run: apt-get install tesseract-ocr tesseract-ocr-chi-tra")
	}
	ctx, cancel := context.WithTimeout(context.Background(), tesseractStartup)
	defer cancel()
	list, err := exec.CommandContext(ctx, program, "--list-langs").Output()
	if err != nil {
		return nil, fmt.Errorf("tesseract --list-langs: %w", err)
	}
	packages := map[string]string{"eng": "tesseract-ocr-eng", "chi_tra": "tesseract-ocr-chi-tra"}
	for language := range strings.SplitSeq(tesseractLanguages, "+") {
		if !slices.Contains(strings.Fields(string(list)), language) {
			return nil, fmt.Errorf("tesseract lacks the language %s; run: apt-get install %s", language, packages[language])
		}
	}
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	return &Tesseract{program: program, seats: make(chan struct{}, workers)}, nil
}

// Read implements Engine. Without an image it says what it is.
func (t *Tesseract) Read(ctx context.Context, page Page) (Text, error) {
	if page.Image == nil {
		return Text{Content: "This is vllmsim with Tesseract, a stand-in for DeepSeek-OCR. It reads images and has nothing to say without one."}, nil
	}
	select {
	case t.seats <- struct{}{}:
		defer func() { <-t.seats }()
	case <-ctx.Done():
		return Text{}, ctx.Err()
	}
	picture, err := graymap(page.Image)
	if err != nil {
		return Text{}, err
	}
	if page.Grounding {
		table, err := t.run(ctx, picture, "tsv")
		return Text{Content: grounded(parseLayout(table), page.Size)}, err
	}
	text, err := t.run(ctx, picture)
	return Text{Content: tidy(text)}, err
}

// run starts the program on a picture and returns what it prints.
func (t *Tesseract) run(ctx context.Context, picture []byte, output ...string) (string, error) {
	args := append([]string{
		"stdin", "stdout", "-l", tesseractLanguages, "--psm", tesseractPageMode,
		// Without it every two Chinese characters have a space between them.
		"-c", "preserve_interword_spaces=1",
	}, output...)
	cmd := exec.CommandContext(ctx, t.program, args...)
	// Workers are what runs side by side; threads within one only get in the way.
	cmd.Env = append(os.Environ(), "OMP_THREAD_LIMIT=1")
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(picture)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		complaint, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("tesseract: %s", cmp.Or(complaint, err.Error()))
	}
	return stdout.String(), nil
}

// graymap decodes an image of any format, puts it on white, and writes it as a
// binary PGM, which Tesseract reads whatever image libraries it was built with.
func graymap(encoded []byte) ([]byte, error) {
	src, _, err := image.Decode(bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	size := src.Bounds().Size()
	gray := image.NewGray(image.Rectangle{Max: size})
	draw.Draw(gray, gray.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(gray, gray.Rect, src, src.Bounds().Min, draw.Over)
	head := fmt.Appendf(nil, "P5\n%d %d\n255\n", size.X, size.Y)
	return append(head, gray.Pix...), nil
}

// tidy drops Tesseract's form feed, runs of spaces, and blank lines beyond one.
func tidy(text string) string {
	var b strings.Builder
	blank := true
	for line := range strings.Lines(strings.ReplaceAll(text, "\f", "")) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" && blank {
			continue
		}
		blank = line == ""
		b.WriteString(line + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
