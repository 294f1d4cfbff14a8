/* cli/selftest.h - openautoglm selftest: is this program right, and
 * is this checkpoint right on it? */
#ifndef CLI_SELFTEST_H
#define CLI_SELFTEST_H

/* argv[0] is the command's name; returns the exit status: 0 when every stage is right. */
int command_selftest(int argc, char **argv);

#endif
