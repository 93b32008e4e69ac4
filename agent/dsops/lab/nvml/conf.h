/* The files that the library answers from, and what every call does first: hang and fail as they say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define GPUS 16
#define CONF_BYTES 16384

typedef unsigned int u32;
typedef unsigned long long u64;
typedef int ret_t;
enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, TIMED_OUT = 10,
    FUNCTION_NOT_FOUND = 13, CORRUPTED_INFOROM = 14, LOST = 15, RESET_REQUIRED = 16, IN_USE = 19,
    OUT_OF_MEMORY = 20, NO_ROOM = 21, WRONG_VERSION = 25
};
typedef struct { u32 index; } gpu_t;
typedef struct { char text[CONF_BYTES]; } conf_t;

static gpu_t gpus[GPUS];
static int users;

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static double now(void) { return seconds(CLOCK_MONOTONIC); }

/* --- read --- */

static int load(conf_t *conf, const char *name) {
    const char *folder = getenv("DSOPS_LAB_GPUS");
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/run/dsops-lab-gpus", name);
    conf->text[0] = 0;
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    conf->text[fread(conf->text, 1, CONF_BYTES - 1, file)] = 0;
    fclose(file);
    return 1;
}

static int load_gpu(conf_t *conf, u32 index) {
    char name[32];
    snprintf(name, sizeof name, "gpu%u.conf", index);
    return load(conf, name);
}

static const char *find(const conf_t *conf, const char *key) {
    size_t length = strlen(key);
    for (const char *line = conf->text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, key, length) && line[length] == '=') return line + length + 1;
    }
    return NULL;
}

/* "5", "0x5", "-5", or a counter that nobody needs to write: "5+1000@1763832000.5" is 5, and 1000 more a second since. */
static u64 parse(const char *value) {
    char *end;
    u64 base = strtoull(value, &end, 0);
    if (*end != '+') return base;
    double rate = strtod(end + 1, &end), since = *end == '@' ? strtod(end + 1, NULL) : 0;
    double passed = seconds(CLOCK_REALTIME) - since;
    return base + (u64)(rate > 0 && passed > 0 ? rate * passed : 0);
}

static u64 number(const conf_t *conf, const char *key, u64 otherwise) {
    const char *value = find(conf, key);
    return value ? parse(value) : otherwise;
}

/* What a file does not say, this card does not offer. */
static ret_t get(const conf_t *conf, const char *key, u64 *out) {
    const char *value = find(conf, key);
    if (value) *out = parse(value);
    return value ? OK : NOT_SUPPORTED;
}

static ret_t get_u32(const conf_t *conf, const char *key, u32 *out) {
    u64 value = 0;
    ret_t r = get(conf, key, &value);
    if (!r) *out = (u32)value;
    return r;
}

static ret_t text(const conf_t *conf, const char *key, char *out, u32 size) {
    const char *value = find(conf, key);
    if (!out) return INVALID_ARGUMENT;
    if (!value) return NOT_SUPPORTED;
    size_t length = strcspn(value, "\n");
    if (length + 1 > size) return TOO_SMALL;
    memcpy(out, value, length);
    out[length] = 0;
    return OK;
}

static int says(const conf_t *conf, const char *key, const char *wanted) {
    const char *value = find(conf, key);
    return value && strlen(wanted) == strcspn(value, "\n") && !strncmp(value, wanted, strlen(wanted));
}

/* --- hang and fail --- */

static const char *find_for(const conf_t *conf, const char *key, const char *function) {
    char exact[128];
    snprintf(exact, sizeof exact, "%s.%s", key, function);
    const char *value = find(conf, exact);
    return value ? value : find(conf, key);
}

static ret_t obey(conf_t *conf, const char *name, const char *function) {
    double begin = now();
    int there = load(conf, name);
    for (const char *hang; (hang = find_for(conf, "hang", function)); there = load(conf, name)) {
        double patience = atof(hang);
        if (patience >= 0 && now() - begin >= patience) break;
        usleep(20000);
    }
    const char *code = find_for(conf, "return", function);
    if (code) return atoi(code);
    return there ? OK : LOST;
}

static ret_t enter(conf_t *conf, const char *function) {
    if (!users) return UNINITIALIZED;
    ret_t r = obey(conf, "driver.conf", function);
    return r == LOST && !find_for(conf, "return", function) ? OK : r;
}

static ret_t enter_gpu(conf_t *conf, const gpu_t *gpu, const char *function) {
    char name[32];
    if (!users) return UNINITIALIZED;
    if (gpu < gpus || gpu >= gpus + GPUS) return INVALID_ARGUMENT;
    load(conf, "driver.conf");
    if (gpu->index >= number(conf, "count", 0)) return LOST;
    snprintf(name, sizeof name, "gpu%u.conf", gpu->index);
    return obey(conf, name, function);
}

#define ENTER conf_t conf; { ret_t r = enter(&conf, __func__); if (r) return r; }
#define ENTER_GPU conf_t conf; { ret_t r = enter_gpu(&conf, gpu, __func__); if (r) return r; }
#define LENGTH(array) (sizeof(array) / sizeof *(array))
/* NVML's mark of a structure: its size, and in the highest byte its number. */
#define VERSION(type, number) ((u32)sizeof(type) | (u32)(number) << 24)
