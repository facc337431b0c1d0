package main

import (
	"fmt"
	"strings"
)

// Mutations of what a part is called, and its file.

func (d *draft) changeField() string {
	field := pick(d, "file", "files", "File", "FILE", "files[]", "file[]", "image", "prompt", "Prompt", "", " file", "file ", "fi\\\"le", "fi%22le", "檔案", "file;x")
	name := fmt.Sprintf(`name="%s"`, field)
	if d.rng.IntN(3) == 0 {
		name = pick(d, "name=file", "name=files", "NAME=file", "name*=UTF-8''file", "name*=UTF-8''f%69les", "name='file'", "name=", "name", "name*0=fi; name*1=le", `name = "file"`, `name="file"; name="prompt"`)
	}
	if p := d.somePart(); p != nil {
		d.rename(p, name)
	}
	return "field " + name
}

// rename puts another name into a part's disposition.
func (d *draft) rename(p *part, name string) {
	for i, line := range p.header {
		if at := strings.Index(line, ` name="`); at >= 0 {
			if end := strings.IndexByte(line[at+7:], '"'); end >= 0 {
				p.header[i] = line[:at+1] + name + line[at+7+end+1:]
			}
		}
	}
}

func (d *draft) changeName() string {
	name := d.fileName()
	if p := d.somePart(); p != nil {
		*p = part{[]string{"Content-Disposition: form-data; name=\"" + d.field() + "\"; " + name}, p.data}
	}
	return fmt.Sprintf("%.80q", name)
}

// field is most often the field that the route asks for.
func (d *draft) field() string {
	if right := strings.HasSuffix(d.path, "batch"); right == (d.rng.IntN(6) > 0) {
		return "files"
	}
	return "file"
}

// fileName is a filename parameter.
func (d *draft) fileName() string {
	switch d.rng.IntN(10) {
	case 0:
		return pick(d, "filename=a.png", "filename=", "filename", "filename='a.png'", `filename = "a.png"`, `FILENAME="a.png"`, `filename="a.png`, `filename="a;b.png"`,
			`filename="a\"b.png"`, `filename="a%22b.png"`, `filename="a\\b.png"`, `filename=""`, `filename="a.png"x`, `filename=a b.png`, `filename="a.png";`, `filename=;filename=b.png`, `filename*=x`)
	case 1:
		return pick(d, "filename*=UTF-8''", "filename*=utf-8'en'", "filename*=iso-8859-1''", "filename*=big5''", "filename*=''", "filename*=", "filename*=us-ascii''") + pick(d, "a.png", "%E7%99%BCa.png", "%e9.png", "a%2Epng", "a%2fb.png", "a%zz.png", "a%00.png", `"a.png"`)
	case 2:
		return pick(d, `filename*0="a."; filename*1="png"`, `filename*0*=UTF-8''a%2E; filename*1=png`, `filename*0*=UTF-8''%E7%99%BC; filename*1*=%2Epng`, `x*=iso-8859-1''y; filename*=%E9%61.png`, `x*=utf-8''y; filename*=a%2Epng`, `x*=utf-8''y; filename*=''a%2Epng`, `filename*=a%2Epng`, `filename*1="png"; filename*0="a."`, `filename*0=a; filename="b.png"`, `filename="a.tiff"; filename="b.png"`, `filename="b.png"; filename="a.tiff"`, `filename="b.png"; filename*=UTF-8''c.tiff`, `filename*=UTF-8''c.png; filename="b.tiff"`)
	}
	return `filename="` + d.name() + `"`
}

// name is a file's name, good or not.
func (d *draft) name() string {
	if d.rng.IntN(2) == 0 {
		return pick(d, "a.png", "scan.jpg", "page 1.jpeg", "x.gif", "b.bmp", "c.webp")
	}
	stems := []string{"a", "發票", "My résumé №1", "..", ".", "", " ", "a b", "a/b", "../x", "C:\\x", "a.b", "_", "._", "a__b", "ﬁ", "é", "e\u0301", "½", "\u00a0", "\u3000", "ａ", "😀", "CON", "a\tb", "a\x00b", "-", "a'b", "a%41", "%", "a;b", "~", "a,b", "İ", "K", "\x7f", "\u200b", "\u2028", "\x1c", "a\x85b", "ß", "#", "a?b", "&amp;", "<b>", "${x}", "`x`"}
	endings := []string{".png", ".PNG", ".jpg", ".Jpeg", ".gif", ".bmp", ".webp", ".tiff", ".pdf", "", ".", ".png.", ".png ", ".pn g", ".ｐｎｇ", ".png/x", ".png\\", ".svg", ".jpe", ".png\x00", ".pİng", ".png.txt", ".txt.png", ". png", ".gıf", ".weBp"}
	name := pick(d, stems...) + pick(d, stems...)
	for range d.rng.IntN(4) { // characters from anywhere below the surrogates, and from beyond
		name += string(rune(0x20+d.rng.IntN(0xd800-0x20))) + string(rune(0x80+d.rng.IntN(0x500))) + string(rune(0xf900+d.rng.IntN(0x28000)))
	}
	name += pick(d, endings...)
	if d.rng.IntN(20) == 0 {
		name = strings.Repeat("n", 225+d.rng.IntN(20)) + name
	}
	return name
}
