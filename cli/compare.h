/* cli/compare.h - `openautoglm compare`: how far one model's predictions are
 * from another's, or from the same model's in another precision. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

/* argv[0] is the command's name. The exit status: 0 done, 1 the data or a file cannot be used, 2 wrong arguments, or a
 * model that cannot be used. */
int command_compare(int argc, char **argv);

#endif
