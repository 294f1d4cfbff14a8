/* cli/command.h - the commands of the program, and what they share. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H
#include "config/options.h"
#include "engine/engine.h"

enum { EXIT_USAGE = 2 };       /* wrong arguments, or a model that cannot be used */

/* Each returns the exit status. argv[0] is the command's name. */
int command_serve(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_classify(int argc, char **argv);
int command_plan(int argc, char **argv);

/* Reads the options of these groups and says on stderr what is wrong with
 * them, or prints the help that was asked for (`usage` first). Returns -1 to
 * go on, else the exit status. */
int command_options(struct config *c, unsigned groups, const char *usage, int argc, char **argv);

/* Makes c->engine.model a folder. Without a model that is the shipped one: ./models/open-autoglm-v1, the same beside
 * the program's folder, or below share/. A name on a hub becomes its folder in the cache; `fetch`: if it is not
 * there, it is fetched first. What else was given stays. -1: there is none. */
int command_find_model(struct config *c, bool fetch, struct err *e);

/* A model may also be given as the only argument that is no option. */
int command_model_argument(struct config *c, struct err *e);

/* For a model whose names nobody chose: after command_find_model(), which may have filled in a hub's name, adds the
 * folder's name (links followed) where there is none, and the phone agents' name if it is a model of theirs. */
void command_name_model(struct config *c);

/* Fills c->max_body_total if no option did. */
void command_size_bodies(struct config *c);

/* The engine's options as the user gave them, and a progress bar while it loads. Borrows c's strings. */
struct engine_options command_engine_options(const struct config *c);

/* A warning that names the options which the planned device ignores. */
void command_tell_ignored(const struct config *c, const struct engine_plan *p);

/* "openautoglm: text" on stderr; returns status. */
int command_fail(int status, const struct err *e);

#endif
