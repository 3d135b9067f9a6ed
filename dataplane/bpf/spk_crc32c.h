// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* CRC32c (RFC 9260 appendix A) as arithmetic on polynomials over GF(2), bit-reflected: bit 31 is
 * x^0. Being linear, it is corrected for what has changed without reading the rest. */
#pragma once

#include <linux/types.h>

#define CRC32C_POLYNOMIAL 0x82f63b78

/* x to the power of 8 * 2^n: appends 2^n zero bytes. */
static const __u32 crc32c_shift[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c,
	0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
	0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* a times b, modulo the polynomial. */
__noinline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = (b >> 1) ^ (CRC32C_POLYNOMIAL & -(b & 1));
	}
	return product;
}

/* What the CRC of a message of len bytes gains when its first word, as it lies in memory, changes by
 * diff. */
__noinline __u32 crc32c_delta(__u32 diff, __u32 len)
{
	for (int i = 0; i < 16; i++)
		if (len >> i & 1)
			diff = crc32c_multiply(crc32c_shift[i], diff);
	return diff;
}

/* The CRC of count words, as they lie in memory. */
static __always_inline __u32 crc32c_of_words(const __u32 *words, const __u32 count)
{
	__u32 crc = ~0;

	for (__u32 i = 0; i < count; i++)
		crc = crc32c_multiply(crc32c_shift[2], crc ^ words[i]);
	return ~crc;
}
