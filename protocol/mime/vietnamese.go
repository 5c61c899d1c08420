package mime

import (
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// Vietnamese has more letters than there are bytes above ASCII: these two character sets put the others in the place of control characters that
// seldom stand in texts.

// viscii is RFC 1456.
func viscii() encoding.Encoding {
	return singleBytes("ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ",
		map[byte]rune{0x02: 'Ẳ', 0x05: 'Ẵ', 0x06: 'Ẫ', 0x14: 'Ỷ', 0x19: 'Ỹ', 0x1e: 'Ỵ'})
}

// tcvn is TCVN 5712:1993, VN1, with the marks that follow their letters.
func tcvn() encoding.Encoding {
	return singleBytes("ÀẢÃÁẠẶẬÈẺẼÉẸỆÌỈĨÍỊÒỎÕÓỌỘỜỞỠỚỢÙỦŨ\u00a0ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịòỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ",
		map[byte]rune{0x01: 'Ú', 0x02: 'Ụ', 0x04: 'Ừ', 0x05: 'Ử', 0x06: 'Ữ', 0x11: 'Ứ', 0x12: 'Ự', 0x13: 'Ỳ', 0x14: 'Ỷ', 0x15: 'Ỹ', 0x16: 'Ý', 0x17: 'Ỵ'})
}

// byteTable is a character set of single bytes, by what each stands for.
type byteTable struct {
	transform.NopResetter
	runes [256]rune
}

// singleBytes makes a character set of what stands above ASCII, and of what stands elsewhere within it.
func singleBytes(above string, within map[byte]rune) encoding.Encoding {
	t := &byteTable{}
	for i := range t.runes {
		t.runes[i] = rune(i)
	}
	i := utf8.RuneSelf
	for _, r := range above {
		t.runes[i] = r
		i++
	}
	for b, r := range within {
		t.runes[b] = r
	}
	return t
}

// NewDecoder implements encoding.Encoding.
func (t *byteTable) NewDecoder() *encoding.Decoder { return &encoding.Decoder{Transformer: t} }

// NewEncoder implements encoding.Encoding: nothing is written in these character sets.
func (t *byteTable) NewEncoder() *encoding.Encoder { return encoding.Replacement.NewEncoder() }

// Transform implements transform.Transformer: from these bytes to UTF-8.
func (t *byteTable) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		r := t.runes[src[nSrc]]
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
	}
	return nDst, nSrc, nil
}
