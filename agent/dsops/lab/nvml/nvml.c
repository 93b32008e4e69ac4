/* A simulated libnvidia-ml.so.1: answers what plain files say, and reads them again on every call.
 *
 * $DSOPS_LAB_GPUS, else /run/dsops-lab-gpus, holds driver.conf and gpu0.conf, gpu1.conf ...: lines of key=value.
 *   driver.conf   count, driver_version, nvml_version, cuda_version
 *   gpuN.conf     the keys below; a missing one has the default that stands beside its use
 *   both          return=CODE or return.FUNCTION=CODE  what calls return (nvmlReturn_t)
 *                 hang=SECONDS or hang.FUNCTION=SECONDS  how long calls hang; -1: until the file says otherwise
 * Signatures: NVIDIA's public NVML API reference. Built with -DnvmlX=absent_nvmlX, a function is not exported.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define GPUS 16
#define CONF_BYTES 8192

typedef unsigned int u32;
typedef unsigned long long u64;
enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, TOO_SMALL = 7, TIMED_OUT = 10, LOST = 15 };
typedef int ret_t;
typedef struct { u32 index; } gpu_t;
typedef struct { char text[CONF_BYTES]; } conf_t;

static gpu_t gpus[GPUS];
static int users;

/* --- the files --- */

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

static const char *find(const conf_t *conf, const char *key) {
    size_t length = strlen(key);
    for (const char *line = conf->text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, key, length) && line[length] == '=') return line + length + 1;
    }
    return NULL;
}

static u64 number(const conf_t *conf, const char *key, u64 otherwise) {
    const char *value = find(conf, key);
    return value ? strtoull(value, NULL, 0) : otherwise;
}

static ret_t text(const conf_t *conf, const char *key, const char *otherwise, char *out, u32 size) {
    const char *value = find(conf, key);
    if (!value) value = otherwise;
    size_t length = strcspn(value, "\n");
    if (!out) return INVALID_ARGUMENT;
    if (length + 1 > size) return TOO_SMALL;
    memcpy(out, value, length);
    out[length] = 0;
    return OK;
}

/* --- what every call does first: hang and fail as told --- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

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
        double seconds = atof(hang);
        if (seconds >= 0 && now() - begin >= seconds) break;
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
#define NUMBER(function, type, key, otherwise) \
    EXPORT ret_t function(gpu_t *gpu, type *out) { \
        ENTER_GPU if (!out) return INVALID_ARGUMENT; \
        *out = (type)number(&conf, key, otherwise); return OK; }

/* --- library and driver --- */

EXPORT ret_t nvmlInitWithFlags(u32 flags) {
    conf_t conf;
    (void)flags;
    users++;
    ret_t r = enter(&conf, "nvmlInit");
    if (r) users--;
    else for (u32 i = 0; i < GPUS; i++) gpus[i].index = i;
    return r;
}
EXPORT ret_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT ret_t nvmlShutdown(void) { return users ? (users--, OK) : UNINITIALIZED; }

EXPORT const char *nvmlErrorString(ret_t code) {
    switch (code) {
        case OK: return "Success";
        case UNINITIALIZED: return "Uninitialized";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case 9: return "Driver Not Loaded";
        case TIMED_OUT: return "Timeout";
        case 13: return "Function Not Found";
        case LOST: return "GPU is lost";
        case 16: return "GPU requires reset";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

EXPORT ret_t nvmlSystemGetDriverVersion(char *out, u32 size) {
    ENTER return text(&conf, "driver_version", "570.86.15", out, size);
}
EXPORT ret_t nvmlSystemGetNVMLVersion(char *out, u32 size) {
    ENTER return text(&conf, "nvml_version", "12.570.86.15", out, size);
}
EXPORT ret_t nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = (int)number(&conf, "cuda_version", 12080);
    return OK;
}
EXPORT ret_t nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }
EXPORT ret_t nvmlDeviceGetCount_v2(u32 *out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = (u32)number(&conf, "count", 0);
    return OK;
}
EXPORT ret_t nvmlDeviceGetHandleByIndex_v2(u32 index, gpu_t **out) {
    ENTER if (!out || index >= GPUS || index >= number(&conf, "count", 0)) return INVALID_ARGUMENT;
    ret_t r = enter_gpu(&conf, &gpus[index], __func__);
    if (!r) *out = &gpus[index];
    return r;
}

/* --- one GPU: who it is --- */

EXPORT ret_t nvmlDeviceGetName(gpu_t *gpu, char *out, u32 size) {
    ENTER_GPU return text(&conf, "name", "NVIDIA H100 80GB HBM3", out, size);
}
EXPORT ret_t nvmlDeviceGetUUID(gpu_t *gpu, char *out, u32 size) {
    char otherwise[64];
    ENTER_GPU snprintf(otherwise, sizeof otherwise, "GPU-00000000-0000-0000-0000-%012u", gpu->index);
    return text(&conf, "uuid", otherwise, out, size);
}

typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
EXPORT ret_t nvmlDeviceGetPciInfo_v3(gpu_t *gpu, pci_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    memset(out, 0, sizeof *out);
    out->bus = (u32)number(&conf, "pci_bus", 0x10 + gpu->index) & 0xff;
    out->id = (u32)number(&conf, "pci_id", 0x233010DE);
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return OK;
}

/* --- one GPU: how it is --- */

typedef struct { u64 total, free, used; } memory_t;
EXPORT ret_t nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    out->total = number(&conf, "memory_total", 85520809984ull);
    out->used = number(&conf, "memory_used", 0);
    out->free = out->used < out->total ? out->total - out->used : 0;
    return OK;
}
typedef struct { u32 gpu, memory; } utilization_t;
EXPORT ret_t nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    out->gpu = (u32)number(&conf, "utilization_gpu", 0);
    out->memory = (u32)number(&conf, "utilization_memory", 0);
    return OK;
}
EXPORT ret_t nvmlDeviceGetTemperature(gpu_t *gpu, u32 sensor, u32 *out) {
    ENTER_GPU if (!out || sensor) return INVALID_ARGUMENT;
    *out = (u32)number(&conf, "temperature", 35);
    return OK;
}
EXPORT ret_t nvmlDeviceGetClockInfo(gpu_t *gpu, u32 kind, u32 *out) {
    ENTER_GPU if (!out || kind > 3) return INVALID_ARGUMENT;
    *out = kind == 2 ? (u32)number(&conf, "clock_memory", 2619) : (u32)number(&conf, "clock_sm", 1980);
    return OK;
}
NUMBER(nvmlDeviceGetPowerUsage, u32, "power", 70000) /* mW */
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, "clocks_event_reasons", 0)
NUMBER(nvmlDeviceGetPersistenceMode, u32, "persistence", 1)

EXPORT ret_t nvmlDeviceGetEccMode(gpu_t *gpu, u32 *current, u32 *pending) {
    ENTER_GPU if (!current || !pending) return INVALID_ARGUMENT;
    *current = (u32)number(&conf, "ecc_mode", 1);
    *pending = (u32)number(&conf, "ecc_mode_pending", *current);
    return OK;
}
EXPORT ret_t nvmlDeviceGetTotalEccErrors(gpu_t *gpu, u32 kind, u32 counter, u64 *out) {
    static const char *keys[2][2] = {{"ecc_corrected", "ecc_corrected_total"}, {"ecc_uncorrected", "ecc_uncorrected_total"}};
    ENTER_GPU if (!out || kind > 1 || counter > 1) return INVALID_ARGUMENT;
    *out = number(&conf, keys[kind][counter], number(&conf, keys[kind][0], 0));
    return OK;
}
EXPORT ret_t nvmlDeviceGetRemappedRows(gpu_t *gpu, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    ENTER_GPU if (!corrected || !uncorrected || !pending || !failed) return INVALID_ARGUMENT;
    *corrected = (u32)number(&conf, "remap_corrected", 0);
    *uncorrected = (u32)number(&conf, "remap_uncorrected", 0);
    *pending = (u32)number(&conf, "remap_pending", 0);
    *failed = (u32)number(&conf, "remap_failed", 0);
    return OK;
}

NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, "pcie_generation", 5)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, "pcie_generation_max", 5)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, "pcie_width", 16)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, "pcie_width_max", 16)
NUMBER(nvmlDeviceGetPcieReplayCounter, u32, "pcie_replays", 0)

EXPORT ret_t nvmlDeviceGetNvLinkState(gpu_t *gpu, u32 link, u32 *out) {
    char key[32];
    ENTER_GPU if (!out || link >= number(&conf, "nvlinks", 18)) return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "nvlink.%u", link);
    *out = (u32)number(&conf, key, 1);
    return OK;
}

typedef struct { u32 id, scope; long long at, took; u32 type; ret_t result; u64 value; } field_t;
EXPORT ret_t nvmlDeviceGetFieldValues(gpu_t *gpu, int count, field_t *fields) {
    static const struct { u32 id; const char *key; } known[] = {
        {82, "temperature_memory"}, {94, "pcie_replays"}, {142, "remap_corrected"}, {143, "remap_uncorrected"},
        {144, "remap_pending"}, {145, "remap_failed"}, {230, "recovery_action"}};
    ENTER_GPU if (!fields || count < 1) return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        char key[32];
        const char *name = NULL;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (known[k].id == fields[i].id) name = known[k].key;
        snprintf(key, sizeof key, "field.%u", fields[i].id);
        fields[i].type = 3; /* unsigned long long */
        fields[i].at = (long long)(now() * 1e6);
        fields[i].value = name ? number(&conf, name, 0) : number(&conf, key, 0);
        fields[i].result = name || find(&conf, key) ? OK : NOT_SUPPORTED;
    }
    return OK;
}

/* --- events: an Xid is told once for each new xid_sequence in the GPU's file --- */

typedef struct { u64 types[GPUS], seen[GPUS]; } events_t;
typedef struct { gpu_t *gpu; u64 type, data; u32 gpu_instance, compute_instance; } event_t;
enum { XID = 8 };

EXPORT ret_t nvmlEventSetCreate(events_t **out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = calloc(1, sizeof **out);
    return *out ? OK : 999;
}
EXPORT ret_t nvmlEventSetFree(events_t *events) {
    free(events);
    return OK;
}
EXPORT ret_t nvmlDeviceRegisterEvents(gpu_t *gpu, u64 types, events_t *events) {
    ENTER_GPU if (!events) return INVALID_ARGUMENT;
    events->types[gpu->index] |= types;
    events->seen[gpu->index] = number(&conf, "xid_sequence", 0);
    return OK;
}

static ret_t look(events_t *events, gpu_t *gpu, event_t *out) {
    conf_t conf;
    ret_t r = enter_gpu(&conf, gpu, "nvmlEventSetWait");
    u64 sequence = number(&conf, "xid_sequence", 0);
    if (sequence != events->seen[gpu->index] && (events->types[gpu->index] & XID)) {
        events->seen[gpu->index] = sequence;
        *out = (event_t){gpu, XID, number(&conf, "xid", 0), 0xffffffff, 0xffffffff};
        return OK;
    }
    return r ? r : TIMED_OUT;
}

EXPORT ret_t nvmlEventSetWait_v2(events_t *events, event_t *out, u32 milliseconds) {
    ENTER if (!events || !out) return INVALID_ARGUMENT;
    for (double until = now() + milliseconds / 1e3;; usleep(20000)) {
        for (u32 i = 0; i < GPUS; i++) {
            ret_t r = events->types[i] ? look(events, &gpus[i], out) : TIMED_OUT;
            if (r != TIMED_OUT) return r;
        }
        if (now() >= until) return TIMED_OUT;
    }
}
