/* cli/version.h - `openautoglm version` and --version: what this program was built from, with what, and what it can
 * compute with. Two builds of one commit with one compiler say the same. */
#ifndef CLI_VERSION_H
#define CLI_VERSION_H

int command_version(int argc, char **argv);

#endif
