/* cli/preprocess.h - openautoglm preprocess: what becomes of an
 * image before the model sees it. */
#ifndef CLI_PREPROCESS_H
#define CLI_PREPROCESS_H

/* argv[0] is the command's name; returns the exit status. */
int command_preprocess(int argc, char **argv);

#endif
