/* cli/point.h - where an action of the model points to: the point of
 * `name=[x,y]` in its text, 0 to 999 across the screen and down it. */
#ifndef CLI_POINT_H
#define CLI_POINT_H

/* -1: there is no such point. */
int point_find(const char *action, const char *name, int *x, int *y);

#endif
