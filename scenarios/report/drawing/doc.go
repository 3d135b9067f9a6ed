// Package drawing measures out the pictures of a report: which line goes where, in pixels of an SVG.
// It makes no markup; the page's templates do, so every text is escaped by html/template alone.
// What would not fit is folded or cut, so a drawing's size is bounded whatever goes in.
package drawing

import "unicode/utf8"

// letterWide is the width of a letter of the small print in pixels, at the most.
const letterWide = 6.4

// wide is how many pixels a text takes.
func wide(text string) int { return int(letterWide*float64(utf8.RuneCountInString(text))) + 1 }

// cut shortens a text to a width in pixels; what does not even hold a letter and the dots is "".
func cut(text string, pixels int) string {
	if wide(text) <= pixels {
		return text
	}
	letters := int(float64(pixels) / letterWide)
	if letters < 3 {
		return ""
	}
	return string([]rune(text)[:letters-1]) + "…"
}

// within keeps x between lo and hi.
func within(x, lo, hi int) int { return max(lo, min(x, hi)) }

// Text is a piece of text at its baseline.
type Text struct {
	X, Y   int
	Anchor string // "start", "middle", "end"
	Text   string
}

// centred keeps a text whole between lo and hi, around x where that is possible.
func centred(x, y, lo, hi int, text string) Text {
	half := wide(text)/2 + 2
	return Text{X: max(lo+half, min(x, hi-half)), Y: y, Anchor: "middle", Text: text}
}
