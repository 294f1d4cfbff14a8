/* cli/mark.h - `openautoglm mark`: a copy of a screenshot with the
 * point of an action marked on it, for people who want to see where a tap goes. */
#ifndef CLI_MARK_H
#define CLI_MARK_H

int command_mark(int argc, char **argv);

#endif
