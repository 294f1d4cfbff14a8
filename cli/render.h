/* cli/render.h - `openautoglm render [--now 2025-03-04T05:06:07]`:
 * renders chat templates without a model, to look at them and to test them.
 *
 * Reads one JSON value a line from standard input, {"template": "...",
 * "context": {...}}, and writes one a line, {"text": "..."} or {"error": "..."};
 * a bad line gives an error and the next one is read. --now fixes the time that
 * strftime_now() sees. */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H

/* argv[0] is the command's name. The exit status: 0 at the end of the input, 2
 * for wrong arguments. */
int command_render(int argc, char **argv);

#endif
