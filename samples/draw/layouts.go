package main

import (
	"strings"

	"golang.org/x/image/font"

	"ocrmux/test/pages"
)

// receipt is a till receipt in a font whose letters are all equally wide, as
// till printers have.
func receipt() (pages.Page, error) {
	face, err := pages.NewFace(pages.Mono, 11)
	if err != nil {
		return pages.Page{}, err
	}
	defer face.Close()

	lines := strings.Split(strings.Trim(receiptText, "\n"), "\n")
	leading := face.Metrics().Height.Ceil() * 5 / 4
	const margin = 80
	sheet := pages.NewSheet(740, 2*margin+len(lines)*leading)
	for row, line := range lines {
		y := margin + (row+1)*leading - leading/4
		text := strings.TrimLeft(line, " ")
		if text == "" {
			continue
		}
		indent := font.MeasureString(face, line[:len(line)-len(text)]).Ceil()
		sheet.Write(face, margin+indent, y, text)
	}
	return sheet.Page(), nil
}

const receiptText = `
        GREENFIELD GROCERY
    14 Harbour Street, Bristol
       Phone 0117 496 0382

Receipt 20481     12 March 2026

Whole milk 2 litres        2.35
Brown bread large          1.90
Free range eggs dozen      3.75
Cheddar cheese 400 g       4.20
Apples red 1.5 kg          3.15
Tomatoes 500 g             1.85
Olive oil 750 ml           7.40
Ground coffee 250 g        5.60
Dark chocolate 100 g       2.10

Subtotal                  32.30
Member discount            1.60
Total paid by card        30.70

Points earned today          30

    Thank you for your visit
    Please keep this receipt
`

// notice is an announcement in Traditional Chinese: a bold title above a
// justified list of what will happen.
func notice() (pages.Page, error) {
	title, err := pages.NewFace(pages.SansChineseBold, 22)
	if err != nil {
		return pages.Page{}, err
	}
	defer title.Close()
	body, err := pages.NewFace(pages.SansChinese, 12)
	if err != nil {
		return pages.Page{}, err
	}
	defer body.Close()

	const width, margin = 1240, 110
	leading := body.Metrics().Height.Ceil() * 3 / 2
	lines := strings.Split(strings.TrimSpace(noticeText), "\n")
	sheet := pages.NewSheet(width, 2*margin+120+len(lines)*leading)
	titleWidth := font.MeasureString(title, noticeTitle).Ceil()
	sheet.Write(title, (width-titleWidth)/2, margin+50, noticeTitle)
	for row, line := range lines {
		sheet.Write(body, margin, margin+120+(row+1)*leading-leading/4, line)
	}
	return sheet.Page(), nil
}

const noticeTitle = "停水通知"

const noticeText = `
各位住戶大家好。
本社區因為更換地下室的自來水管線工程需要暫時停水。
停水時間為三月十二日上午九時至下午五時止。
停水範圍包括第一棟至第六棟的全部住戶以及一樓的商店。
請各位住戶提前儲存足夠的飲用水和清潔用水。
停水期間請關閉家中的水龍頭和熱水器以免發生意外。
恢復供水之後請先打開水龍頭讓管線中的雜質流出。
如果有任何問題請與管理中心的陳先生聯絡。
施工期間造成不便之處敬請見諒。
社區管理委員會敬上
中華民國一百一十五年三月五日
`

// table has a header, a sum and rules above and below both, as printed tables
// have; the figures stand on the right of their columns.
func table() (pages.Page, error) {
	header, err := pages.NewFace(pages.SansBold, 12)
	if err != nil {
		return pages.Page{}, err
	}
	defer header.Close()
	body, err := pages.NewFace(pages.Serif, 13)
	if err != nil {
		return pages.Page{}, err
	}
	defer body.Close()

	const left, top, rowHeight = 80, 80, 60
	columns := []int{left, 350, 490, 620, 735}
	right, bottom := columns[len(columns)-1], top+len(tableRows)*rowHeight
	sheet := pages.NewSheet(right+left, bottom+top)
	for row, cells := range tableRows {
		face := body
		if row == 0 {
			face = header
		}
		baseline := top + row*rowHeight + 42
		for column, cell := range cells {
			x := columns[column] + 24
			if column == 0 {
				sheet.Write(face, x, baseline, cell)
				continue
			}
			x = columns[column+1] - 24 - font.MeasureString(face, cell).Ceil()
			sheet.Continue(face, x, baseline, cell)
		}
	}
	for _, row := range []int{0, 1, len(tableRows) - 1, len(tableRows)} {
		sheet.Bar(left, top+row*rowHeight, right, top+row*rowHeight+3)
	}
	return sheet.Page(), nil
}

var tableRows = [][]string{
	{"Station", "Visitors", "Change", "Share"},
	{"North harbour", "18,420", "1,205", "31.6"},
	{"Central market", "15,073", "846", "25.9"},
	{"Old library", "9,381", "512", "16.1"},
	{"River garden", "7,964", "377", "13.7"},
	{"City museum", "4,250", "298", "7.3"},
	{"West tower", "3,167", "164", "5.4"},
	{"Total", "58,255", "3,402", "100.0"},
}
