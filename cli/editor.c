/* cli/editor.c - one line, its keys, and how it is shown. See editor.h; the history is in history.c.
 *
 * The line is drawn anew after every key: carriage return, prompt, the part of the line that fits, clear to the end,
 * cursor to its place. So nothing needs to be known of the terminal but its width. */
#include "cli/editor.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/history.h"

struct editor {
    struct history   history;
    editor_complete *complete;     /* NULL: nothing is completed                */
    void            *complete_arg;
    /* the line that is being read */
    char             text[EDITOR_LINE + 1];
    size_t           n, at;        /* its length; the cursor's place            */
    const char      *prompt;       /* borrowed                                  */
    int              shown;        /* entry of the history; history.n: the line itself */
    char            *kept;         /* owned: the line itself, while an entry is shown  */
};

enum { ESCAPE_MS = 60, ANSWER_MS = 300 };      /* how long the rest of a key, or an answer, may take to come */

/* ---- the terminal ---- */

static struct termios before;          /* as it was; valid while `raw`  */
static volatile sig_atomic_t raw;

/* Gives the terminal back as it was. Also called when a signal ends the program, so it only calls what is safe then. */
static void restore(void)
{
    if (raw) {
        static const char off[] = "\033[?2004l";
        raw = 0;
        if (write(STDOUT_FILENO, off, sizeof off - 1) < 0)
            return;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    }
}

static void end_by_signal(int sig)
{
    restore();
    signal(sig, SIG_DFL);
    raise(sig);
}

static bool can_edit(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

/* Keys come one by one, unchanged; what is pasted comes between marks. Output stays as it is. */
static bool make_raw(void)
{
    struct termios t;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    t = before;
    t.c_iflag &= (tcflag_t)~(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    t.c_lflag &= (tcflag_t)~(ECHO | ICANON | IEXTEN | ISIG);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
    return raw;
}

static bool byte_waits(int ms)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&p, 1, ms) > 0;
}

/* -1: the input has ended. */
static int read_byte(void)
{
    unsigned char c;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n == 1)
            return c;
        if (n == 0 || errno != EINTR)
            return -1;
    }
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

/* Asks the terminal about itself by an escape sequence and reads its answer up to the byte `last`. Terminals that do
 * not know the question say nothing, so it waits ANSWER_MS for each byte and no longer; `answer` is then empty or cut.
 * */
void editor_ask_terminal(const char *question, char last, char *answer, size_t n)
{
    size_t k = 0;
    *answer = '\0';
    if (!can_edit() || !make_raw())
        return;
    if (write(STDOUT_FILENO, question, strlen(question)) > 0)
        while (k + 1 < n && byte_waits(ANSWER_MS)) {
            int c = read_byte();
            if (c < 0)
                break;
            answer[k++] = (char)c;
            if (c == last)
                break;
        }
    answer[k] = '\0';
    restore();
}

/* ---- how a line is shown ---- */

/* Columns of a character. The C library knows them in a UTF-8 locale; this one comes with it. */
static int width_of(uint32_t c)
{
    static locale_t utf8;
    static bool     asked;
    if (!asked) {
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
        asked = true;
    }
    if (c < 0x80)
        return 1;
    if (!utf8)
        return c >= 0x1100 ? 2 : 1;
    locale_t old = uselocale(utf8);
    int      w = wcwidth((wchar_t)c);
    uselocale(old);
    return w < 0 ? 1 : w;
}

/* Writes a character as it is shown, whatever it is: ends of lines and other controls have a sign. Returns its
 * columns. */
static int show_char(struct buf *out, const char *s, size_t n, int *len)
{
    uint32_t c = utf8_get(s, n, len);
    if (c == '\n')
        return buf_str(out, "\xe2\x86\xb5"), 1;
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
        return buf_byte(out, ' '), 1;
    if (c == 0xfffd)
        return buf_str(out, "\xef\xbf\xbd"), 1;
    buf_add(out, s, (size_t)*len);
    return width_of(c);
}

static int width_between(struct buf *spare, const char *s, size_t from, size_t to)
{
    int width = 0, len;
    buf_clear(spare);
    for (size_t i = from; i < to; i += (size_t)len)
        width += show_char(spare, s + i, to - i, &len);
    return width;
}

/* Draws what fits, with the cursor in it. */
static void draw(const struct editor *ed)
{
    struct buf out, spare;
    int room = columns() - (int)strlen(ed->prompt) - 1, len, used = 0;
    size_t from = 0, to;
    buf_init(&out, 4 * EDITOR_LINE);
    buf_init(&spare, 4 * EDITOR_LINE);
    room = room < 8 ? 8 : room;
    int before_cursor = width_between(&spare, ed->text, 0, ed->at);
    while (before_cursor > room) {
        before_cursor -= show_char(&spare, ed->text + from, ed->n - from, &len);
        from += (size_t)len;
    }
    buf_str(&out, "\r");
    buf_str(&out, ed->prompt);
    for (to = from; to < ed->n; to += (size_t)len) {
        buf_clear(&spare);
        used += show_char(&spare, ed->text + to, ed->n - to, &len);
        if (used > room)
            break;
        buf_add(&out, spare.data, spare.len);
    }
    buf_str(&out, "\033[K\r");
    if ((int)strlen(ed->prompt) + before_cursor > 0)
        buf_printf(&out, "\033[%dC", (int)strlen(ed->prompt) + before_cursor);
    fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
    buf_free(&out);
    buf_free(&spare);
}

/* ---- changes of the line ---- */

static size_t left_of(const struct editor *ed, size_t at)
{
    while (at > 0 && ((unsigned char)ed->text[--at] & 0xc0) == 0x80)
        ;
    return at;
}

static size_t right_of(const struct editor *ed, size_t at)
{
    int len;
    if (at >= ed->n)
        return ed->n;
    utf8_get(ed->text + at, ed->n - at, &len);
    return at + (size_t)len;
}

static size_t word_left(const struct editor *ed)
{
    size_t at = ed->at;
    while (at > 0 && isspace((unsigned char)ed->text[at - 1]))
        at--;
    while (at > 0 && !isspace((unsigned char)ed->text[at - 1]))
        at--;
    return at;
}

static size_t word_right(const struct editor *ed)
{
    size_t at = ed->at;
    while (at < ed->n && isspace((unsigned char)ed->text[at]))
        at++;
    while (at < ed->n && !isspace((unsigned char)ed->text[at]))
        at++;
    return at;
}

/* Puts text in at the cursor; what would make the line too long is not put in at all. */
static void insert(struct editor *ed, const char *s, size_t n)
{
    if (n > EDITOR_LINE - ed->n)
        return;
    memmove(ed->text + ed->at + n, ed->text + ed->at, ed->n - ed->at);
    memcpy(ed->text + ed->at, s, n);
    ed->at += n;
    ed->n += n;
}

static void erase(struct editor *ed, size_t from, size_t to)
{
    memmove(ed->text + from, ed->text + to, ed->n - to);
    ed->n -= to - from;
    ed->at = from;
}

static void set_text(struct editor *ed, const char *s)
{
    size_t n = strlen(s);
    ed->n = n < EDITOR_LINE ? n : EDITOR_LINE;
    memcpy(ed->text, s, ed->n);
    ed->at = ed->n;
}

/* Up and down in the history; the line that was being typed is its last entry. */
static void show_entry(struct editor *ed, int to)
{
    if (to < 0 || to > ed->history.n)
        return;
    if (ed->shown == ed->history.n) {
        free(ed->kept);
        ed->text[ed->n] = '\0';
        ed->kept = xstrdup(ed->text);
    }
    ed->shown = to;
    set_text(ed, to == ed->history.n ? ed->kept : ed->history.line[to]);
}

/* Tab: what stands before the cursor is replaced by what the caller makes of it, if anything. */
static void complete(struct editor *ed)
{
    size_t from = ed->at;
    ed->text[ed->n] = '\0';
    char  *word = ed->complete ? ed->complete(ed->complete_arg, ed->text, ed->at, &from) : NULL;
    if (word) {
        erase(ed, from, ed->at);
        insert(ed, word, strlen(word));
    }
    free(word);
}

/* ---- keys ---- */

enum { HOME = CTRL('A'), LEFT = CTRL('B'), END = CTRL('E'), RIGHT = CTRL('F'), DOWN = CTRL('N'), UP = CTRL('P') };

/* Everything up to the mark that ends a paste, as text: ends of lines stay, other control characters do not. */
static void read_paste(struct editor *ed)
{
    static const char mark[] = "\033[201~";
    size_t matched = 0;
    for (int c; matched < sizeof mark - 1 && (c = read_byte()) >= 0;) {
        if (c == mark[matched]) {
            matched++;
            continue;
        }
        matched = c == mark[0];
        char byte = (char)(c == '\r' ? '\n' : c);
        if (byte == '\t')
            byte = ' ';
        if (!matched && ((unsigned char)byte >= 0x20 || byte == '\n'))
            insert(ed, &byte, 1);
    }
}

/* What follows an escape: "[1;5C" and the like. Returns the control key that does the same, or 0 when all is done. */
static int read_escape(struct editor *ed)
{
    static const struct { const char *key; int same; } keys[] = {
        { "[A", UP }, { "OA", UP }, { "[B", DOWN }, { "OB", DOWN }, { "[C", RIGHT }, { "OC", RIGHT }, { "[D", LEFT },
        { "OD", LEFT }, { "[H", HOME }, { "OH", HOME }, { "[1~", HOME }, { "[7~", HOME }, { "[F", END }, { "OF", END },
        { "[4~", END }, { "[8~", END },
    };
    char   key[16] = "";
    size_t n = 0;
    while (n < sizeof key - 1 && byte_waits(ESCAPE_MS)) {
        int c = read_byte();
        if (c < 0)
            break;
        key[n++] = (char)c;
        bool begins = n == 1 && (c == '[' || c == 'O');
        if (!begins && ((c >= '@' && c <= '~') || n == 1))
            break;
    }
    key[n] = '\0';
    if (strcmp(key, "[200~") == 0)
        read_paste(ed);
    else if (strcmp(key, "[3~") == 0)
        erase(ed, ed->at, right_of(ed, ed->at));
    else if (strcmp(key, "[1;5D") == 0 || strcmp(key, "b") == 0)
        ed->at = word_left(ed);
    else if (strcmp(key, "[1;5C") == 0 || strcmp(key, "f") == 0)
        ed->at = word_right(ed);
    else if (strcmp(key, "\r") == 0)
        insert(ed, "\n", 1);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i].key) == 0)
            return keys[i].same;
    return 0;
}

/* The bytes of one character that was typed. */
static void read_char(struct editor *ed, int first)
{
    char   s[4] = { (char)first };
    size_t n = 1, want = 1 + (first >= 0xc0) + (first >= 0xe0) + (first >= 0xf0);
    while (n < want && byte_waits(ESCAPE_MS)) {
        int c = read_byte();
        if (c < 0)
            break;
        s[n++] = (char)c;
    }
    insert(ed, s, n);
}

static void stop_for_shell(void)
{
    restore();
    raise(SIGTSTP);
    make_raw();
}

/* One key. true: the line has ended, as *end says. */
static bool take_key(struct editor *ed, int c, enum editor_end *end)
{
    switch (c) {
    case -1: *end = EDITOR_CLOSED; return true;
    case '\r':
    case '\n': *end = EDITOR_LINE_READ; return true;
    case CTRL('C'): *end = EDITOR_INTERRUPTED; return true;
    case CTRL('D'):
        if (ed->n == 0) {
            *end = EDITOR_CLOSED;
            return true;
        }
        erase(ed, ed->at, right_of(ed, ed->at));
        break;
    case HOME: ed->at = 0; break;
    case LEFT: ed->at = left_of(ed, ed->at); break;
    case END: ed->at = ed->n; break;
    case RIGHT: ed->at = right_of(ed, ed->at); break;
    case CTRL('H'):
    case 127: erase(ed, left_of(ed, ed->at), ed->at); break;
    case '\t': complete(ed); break;
    case CTRL('K'): erase(ed, ed->at, ed->n); break;
    case CTRL('L'): fputs("\033[H\033[2J", stdout); break;
    case DOWN: show_entry(ed, ed->shown + 1); break;
    case UP: show_entry(ed, ed->shown - 1); break;
    case CTRL('U'): erase(ed, 0, ed->at); break;
    case CTRL('W'): erase(ed, word_left(ed), ed->at); break;
    case CTRL('Z'): stop_for_shell(); break;
    case 27: return take_key(ed, read_escape(ed), end);
    default:
        if (c >= 32)
            read_char(ed, c);
    }
    return false;
}

/* ---- a line ---- */

/* A line without any editing, where the input is no terminal. A signal that interrupts it is told apart from the end.
 * */
static char *read_plain(const char *prompt, enum editor_end *end)
{
    char  *line = NULL;
    size_t cap = 0;
    fputs(prompt, stdout);
    fflush(stdout);
    errno = 0;
    ssize_t n = getline(&line, &cap, stdin);
    *end = n >= 0 ? EDITOR_LINE_READ : EDITOR_CLOSED;
    if (n < 0) {
        *end = errno == EINTR ? EDITOR_INTERRUPTED : EDITOR_CLOSED;
        clearerr(stdin);
        free(line);
        return NULL;
    }
    if (n > 0 && line[n - 1] == '\n')
        line[n - 1] = '\0';
    return line;
}

/* Reads one line, which may hold several when a text with line ends is pasted: bracketed paste is on meanwhile. NULL
 * where *end says why there is none. The line is the caller's, and remembered in the history. */
char *editor_read(struct editor *ed, const char *prompt, enum editor_end *end)
{
    if (!can_edit() || !make_raw())
        return read_plain(prompt, end);
    ed->prompt = prompt;
    ed->n = ed->at = 0;
    ed->shown = ed->history.n;
    fputs("\033[?2004h", stdout);
    do
        draw(ed);
    while (!take_key(ed, read_byte(), end));
    ed->at = ed->n;
    draw(ed);
    restore();
    fputs("\n", stdout);
    ed->text[ed->n] = '\0';
    if (*end != EDITOR_LINE_READ)
        return NULL;
    history_add(&ed->history, ed->text);
    return xstrdup(ed->text);
}

struct editor *editor_open(const char *history)
{
    struct editor *ed = xcalloc(1, sizeof *ed);
    history_open(&ed->history, history);
    signal(SIGTERM, end_by_signal);
    signal(SIGHUP, end_by_signal);
    return ed;
}

void editor_set_complete(struct editor *ed, editor_complete *function, void *arg)
{
    ed->complete = function;
    ed->complete_arg = arg;
}

void editor_close(struct editor *ed)
{
    if (!ed)
        return;
    history_close(&ed->history);
    free(ed->kept);
    free(ed);
}
