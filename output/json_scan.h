/* output/json_scan.h - follows one JSON value byte by byte, without keeping it (RFC 8259; strings may hold any bytes
 * from 0x20 on). */
#ifndef OUTPUT_JSON_SCAN_H
#define OUTPUT_JSON_SCAN_H
#include <stdbool.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH = 128 };        /* arrays and objects within one another */

struct json_scan {
    int      state;                    /* json_scan.c's; 0: before the value */
    int      depth;
    int      left;                     /* hexadecimal digits of an escape that are still to come */
    bool     key;                      /* the string that is being read is a member's name      */
    const char *literal;               /* what must follow of true, false or null               */
    uint8_t  object[JSON_SCAN_DEPTH / 8];   /* bits: is the value at this depth an object        */
};

enum json_scanned {
    JSON_SCAN_MORE,            /* the byte belongs to the value, which is not complete               */
    JSON_SCAN_LAST,            /* the byte is its last one                                           */
    JSON_SCAN_OVER,            /* it was complete before this byte: a number ends with what follows  */
    JSON_SCAN_BAD              /* this is no JSON, or too deep                                       */
};

/* White space before the value counts as MORE. {0} begins a new one. */
enum json_scanned json_scan(struct json_scan *s, char c);

/* Is the value complete if nothing follows? Then it is a number that only lacks something behind it. */
bool json_scan_may_end(const struct json_scan *s);

#endif
