/* base/wrap.h - text for people in lines that fit into a terminal. */
#ifndef BASE_WRAP_H
#define BASE_WRAP_H
#include <stdio.h>

enum { WRAP_WIDTH = 98 };      /* columns of a line: what is printed for people stays below 100 */

/* Writes the words of `text` from column `at`, where the line stands now, and begins every further line with `indent`
 * blanks. Lines are broken between words alone; a word that is longer than a line stays whole. The last line is ended.
 * Columns are characters of UTF-8, each one wide. */
void wrap_print(FILE *out, const char *text, int at, int indent);

#endif
