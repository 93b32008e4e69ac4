/* Events: lines event.N=TYPE DATA SECONDS in a GPU's file, N counting up, SECONDS since 1970. A set that was made
 * before that moment gets each of its types once, in this order; a moment to come is waited for. */

typedef struct { u64 types[GPUS], seen[GPUS]; } events_t;
typedef struct { gpu_t *gpu; u64 type, data; u32 gpu_instance, compute_instance; } event_t;
typedef struct { u64 number, type, data; } told_t;

/* The first event after `after` that has happened; number 0 when there is none. */
static told_t find_event(const conf_t *conf, u64 after) {
    told_t first = {0, 0, 0};
    double today = seconds(CLOCK_REALTIME);
    for (const char *line = conf->text; line; line = strchr(line, '\n')) {
        u64 number, type, data;
        double at;
        if (*line == '\n') line++;
        if (sscanf(line, "event.%llu=%lli %lli %lf", &number, (long long *)&type, (long long *)&data, &at) != 4) continue;
        if (number > after && at <= today && (!first.number || number < first.number)) first = (told_t){number, type, data};
    }
    return first;
}

EXPORT ret_t nvmlEventSetCreate(events_t **out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = calloc(1, sizeof **out);
    return *out ? OK : OUT_OF_MEMORY;
}
EXPORT ret_t nvmlEventSetFree(events_t *events) {
    free(events);
    return OK;
}
EXPORT ret_t nvmlDeviceRegisterEvents(gpu_t *gpu, u64 types, events_t *events) {
    ENTER_GPU if (!events) return INVALID_ARGUMENT;
    if (types & ~number(&conf, "event_types", 0)) return NOT_SUPPORTED;
    events->types[gpu->index] |= types;
    for (told_t old; (old = find_event(&conf, events->seen[gpu->index])).number;) events->seen[gpu->index] = old.number;
    return OK;
}

static ret_t look(events_t *events, gpu_t *gpu, event_t *out) {
    conf_t conf;
    ret_t r = enter_gpu(&conf, gpu, "nvmlEventSetWait");
    for (told_t new; (new = find_event(&conf, events->seen[gpu->index])).number;) {
        events->seen[gpu->index] = new.number;
        if (!(new.type & events->types[gpu->index])) continue;
        *out = (event_t){gpu, new.type, new.data, 0xffffffff, 0xffffffff};
        return OK;
    }
    return r ? r : TIMED_OUT;
}

static ret_t wait_for(events_t *events, event_t *out, u32 milliseconds) {
    if (!events || !out) return INVALID_ARGUMENT;
    for (double until = now() + milliseconds / 1e3;; usleep(20000)) {
        for (u32 i = 0; i < GPUS; i++) {
            ret_t r = events->types[i] ? look(events, &gpus[i], out) : TIMED_OUT;
            if (r != TIMED_OUT) return r;
        }
        if (now() >= until) return TIMED_OUT;
    }
}
EXPORT ret_t nvmlEventSetWait(events_t *events, event_t *out, u32 milliseconds) {
    ENTER return wait_for(events, out, milliseconds);
}
EXPORT ret_t nvmlEventSetWait_v2(events_t *events, event_t *out, u32 milliseconds) {
    ENTER return wait_for(events, out, milliseconds);
}
