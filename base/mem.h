/* base/mem.h - memory at start-up: running out is fatal here.
 *
 * What a request asks for uses plain malloc() and turns NULL into an error. */
#ifndef BASE_MEM_H
#define BASE_MEM_H
#include <stdbool.h>
#include <stddef.h>

void *xmalloc(size_t n);                  /* never NULL; n = 0 gives one byte      */
void *xcalloc(size_t count, size_t size); /* zeroed; overflow of the product dies  */
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

/* Makes room in a growing array for at least `need` elements of `size` bytes, by doubling. `array_ptr` is the address
 * of the pointer to the array and `cap` that of its capacity. Returns 0, or -1 when memory is out (then nothing
 * changes). */
int grow(void *array_ptr, size_t *cap, size_t need, size_t size);
void xgrow(void *array_ptr, size_t *cap, size_t need, size_t size);      /* the same at start-up: never fails */

/* For a library, which must not end the process that it lives in. While a reserve is held, running out in one of the
 * functions above is not fatal at once: the reserve goes back to the machine, the function tries again, and the program
 * goes on to the next place that asks reserve_spent(), which gives up what it is making and says that memory is out.
 * Holders in several threads share one reserve. */
int  reserve_hold(void);                  /* -1: there is no memory even for that                       */
void reserve_drop(void);
bool reserve_spent(void);                 /* since the first of those who hold it now took hold of it   */

/* One heap for all threads, so that what one has freed serves the others; blocks of a megabyte and more, such as bodies
 * and pixels, are the machine's again as soon as they are freed. A decoded screenshot costs some milliseconds of page
 * faults for that. Call before the first thread is started. */
void heap_settle(void);

/* Gives the machine back what is free in the heap; some milliseconds. */
void heap_trim(void);

#endif
