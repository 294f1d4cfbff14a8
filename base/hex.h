/* base/hex.h - digits to the base of sixteen. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

/* The value of a hexadecimal digit, in either case; -1 for every other character, and for what is none (-1). */
int hex_digit(int c);

#endif
