/* base/json_watch.h - jansson where memory may run out.
 *
 * Some of jansson's own functions go on without what there was no memory for: json_copy() gives an object that lacks a
 * member. Looking at what each call returns is therefore not enough. Every allocation of jansson is watched instead,
 * and whoever has worked on a request's JSON asks once whether all of it is there:
 *
 *     json_begin();
 *     ... json_loadb(), json_copy(), json_object_set_new(), ...
 *     if (json_starved())
 *         return err_memory(e);       // whatever the calls have returned */
#ifndef BASE_JSON_WATCH_H
#define BASE_JSON_WATCH_H
#include <stdbool.h>

/* Once, before any function of jansson is called. Without it json_starved() is always false. */
void json_watch(void);

/* The next piece of work of this thread begins. */
void json_begin(void);

/* Has jansson asked for memory in vain since then, on this thread? */
bool json_starved(void);

#endif
