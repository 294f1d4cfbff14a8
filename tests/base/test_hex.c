/* tests/base/test_hex.c - the value of every byte as a hexadecimal digit. */
#include <check.h>
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>

#include "base/hex.h"
#include "tests/suite.h"

START_TEST(test_every_byte)
{
    for (int c = CHAR_MIN; c <= UCHAR_MAX; c++) {
        char text[] = { (char)c, 0 };
        int want = c >= 0 && isxdigit(c) ? (int)strtol(text, NULL, 16) : -1;
        ck_assert_msg(hex_digit(c) == want, "%d is %d and should be %d", c, hex_digit(c), want);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hex");
    TCase *t = tcase_create("hex");
    tcase_add_test(t, test_every_byte);
    suite_add_tcase(s, t);
    return suite_run(s);
}
