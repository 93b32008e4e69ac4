/* MIG: profiles from a GPU's file, mig_profile.N=ID NAME SLICES MOST MEMORY_MIB SIZE STARTS...; N is NVML's number of the
 * profile. What calls have made of it lies in gpuN.mig, beside the files where $DSOPS_LAB_GPUS names them, else in
 * /run/dsops-lab-mig: of a server's own memory, so that a reboot forgets it, as a Hopper card does.
 *   mode=1 pending=1 gi.ID=PROFILE START SIZE ci.GI.ID=PROFILE
 * Handles of instances and of devices are addresses in the tables below.
 */
#include <sys/stat.h>

enum { INSTANCES = 16, COMPUTES = 8, PROFILES = 18, COMPUTE_PROFILES = 9, MIG_SLICES = 8 };
static const u32 COMPUTE_SLICES[COMPUTE_PROFILES] = {1, 2, 3, 4, 7, 8, 6, 1, 7};

typedef struct { u32 start, size; } span_t;
typedef struct { u32 id, slices, most, memory, size, count; char name[32]; u32 starts[MIG_SLICES]; } profile_t;
typedef struct { u32 there, profile, there_ci[COMPUTES], profile_ci[COMPUTES]; span_t span; } instance_t;
typedef struct { u32 mode, pending; instance_t gi[INSTANCES]; } mig_t;
typedef struct { u32 gpu, id; } gi_t;
typedef struct { u32 gpu, gi, id; } ci_t;
typedef struct { ci_t of; } device_t; /* what CUDA sees: one compute instance */

static gi_t gis[GPUS][INSTANCES];
static ci_t cis[GPUS][INSTANCES][COMPUTES];
static device_t devices[GPUS][INSTANCES][COMPUTES];

static void begin_mig(u32 i) {
    for (u32 g = 0; g < INSTANCES; g++) {
        gis[i][g] = (gi_t){i, g};
        for (u32 c = 0; c < COMPUTES; c++) devices[i][g][c].of = cis[i][g][c] = (ci_t){i, g, c};
    }
}

#define WITHIN(handle, table) ((const char *)(handle) >= (const char *)(table) && (const char *)(handle) < (const char *)(table) + sizeof(table))

/* --- the profiles --- */

static ret_t read_profile(const conf_t *conf, u32 number, profile_t *out) {
    char key[32];
    int at = 0, more = 0;
    snprintf(key, sizeof key, "mig_profile.%u", number);
    const char *line = find(conf, key);
    if (!line) return NOT_SUPPORTED;
    *out = (profile_t){0};
    if (sscanf(line, "%u %31s %u %u %u %u%n", &out->id, out->name, &out->slices, &out->most, &out->memory, &out->size, &at) != 6)
        return NOT_SUPPORTED;
    for (line += at; out->count < MIG_SLICES && *line == ' ' && sscanf(line, "%u%n", &out->starts[out->count], &more) == 1; line += more)
        out->count++;
    return OK;
}
static ret_t find_profile(const conf_t *conf, u32 id, profile_t *out) {
    for (u32 number = 0; number < PROFILES; number++)
        if (!read_profile(conf, number, out) && out->id == id) return OK;
    return INVALID_ARGUMENT;
}

/* --- what was made of them --- */

static void mig_path(char *out, size_t size, u32 index, const char *end) {
    const char *folder = getenv("DSOPS_LAB_GPUS");
    if (!folder) mkdir("/run/dsops-lab-mig", 0755);
    snprintf(out, size, "%s/gpu%u.mig%s", folder ? folder : "/run/dsops-lab-mig", index, end);
}
static ret_t load_mig(const conf_t *conf, u32 index, mig_t *out) {
    char path[512], line[64];
    u32 g, c, profile;
    span_t span;
    *out = (mig_t){0};
    ret_t r = get_u32(conf, "mig_mode", &out->mode);
    if (r) return r;
    out->pending = (u32)number(conf, "mig_mode_pending", out->mode);
    mig_path(path, sizeof path, index, "");
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "mode=%u", &out->mode);
        sscanf(line, "pending=%u", &out->pending);
        if (sscanf(line, "gi.%u=%u %u %u", &g, &profile, &span.start, &span.size) == 4 && g < INSTANCES) {
            out->gi[g].there = 1;
            out->gi[g].profile = profile;
            out->gi[g].span = span;
        }
        if (sscanf(line, "ci.%u.%u=%u", &g, &c, &profile) == 3 && g < INSTANCES && c < COMPUTES) {
            out->gi[g].there_ci[c] = 1;
            out->gi[g].profile_ci[c] = profile;
        }
    }
    if (file) fclose(file);
    return OK;
}
static ret_t save_mig(u32 index, const mig_t *mig) {
    char path[512], part[512];
    mig_path(path, sizeof path, index, "");
    mig_path(part, sizeof part, index, ".part");
    FILE *file = fopen(part, "we");
    if (!file) return NO_PERMISSION;
    fprintf(file, "mode=%u\npending=%u\n", mig->mode, mig->pending);
    for (u32 g = 0; g < INSTANCES; g++) {
        const instance_t *one = &mig->gi[g];
        if (one->there) fprintf(file, "gi.%u=%u %u %u\n", g, one->profile, one->span.start, one->span.size);
        for (u32 c = 0; c < COMPUTES; c++)
            if (one->there_ci[c]) fprintf(file, "ci.%u.%u=%u\n", g, c, one->profile_ci[c]);
    }
    fclose(file);
    return rename(part, path) ? NO_PERMISSION : OK;
}

/* Processes on the GPU, or in one of its instances: process.PID=BYTES [GI CI]. */
static int is_used(const conf_t *conf, int gi) {
    for (const char *line = conf->text; line; line = strchr(line, '\n')) {
        u32 pid;
        u64 bytes;
        int in = -1;
        if (*line == '\n') line++;
        if (sscanf(line, "process.%u=%llu %d", &pid, &bytes, &in) >= 2 && (gi < 0 || in == gi)) return 1;
    }
    return 0;
}

#define ENTER_MIG conf_t conf; mig_t mig; { \
    ret_t r = enter_gpu(&conf, gpu, __func__); \
    if (!r) r = load_mig(&conf, gpu->index, &mig); \
    if (r) return r; }
#define ENTER_ONE(table, one) conf_t conf; mig_t mig; { \
    if (!users) return UNINITIALIZED; \
    if (!WITHIN(one, table)) return INVALID_ARGUMENT; \
    ret_t r = enter_gpu(&conf, &gpus[one->gpu], __func__); \
    if (!r) r = load_mig(&conf, one->gpu, &mig); \
    if (r) return r; }
#define ENTER_GI ENTER_ONE(gis, gi) if (!mig.gi[gi->id].there) return NOT_FOUND;
#define ENTER_CI ENTER_ONE(cis, ci) if (!mig.gi[ci->gi].there_ci[ci->id]) return NOT_FOUND;

/* --- the mode --- */

EXPORT ret_t nvmlDeviceGetMigMode(gpu_t *gpu, u32 *current, u32 *pending) {
    ENTER_MIG if (!current || !pending) return INVALID_ARGUMENT;
    *current = mig.mode;
    *pending = mig.pending;
    return OK;
}
EXPORT ret_t nvmlDeviceSetMigMode(gpu_t *gpu, u32 mode, ret_t *status) {
    ENTER_MIG if (mode > 1 || !status) return INVALID_ARGUMENT;
    for (u32 g = 0; g < INSTANCES; g++)
        if (!mode && mig.gi[g].there) return IN_USE;
    mig.pending = mode;
    *status = is_used(&conf, -1) ? IN_USE : number(&conf, "mig_reset", 0) ? RESET_REQUIRED : OK;
    if (!*status) mig.mode = mode;
    return save_mig(gpu->index, &mig);
}
EXPORT ret_t nvmlDeviceGetMaxMigDeviceCount(gpu_t *gpu, u32 *out) {
    ENTER_MIG if (!out) return INVALID_ARGUMENT;
    *out = mig.mode ? 7 : (u32)number(&conf, "mig_devices_max", 0);
    return OK;
}

/* --- instances --- */

typedef struct { u32 id, p2p, slices, instances, sms, copies, decoders, encoders, jpegs, ofas; u64 memory; } profile_info_t;
EXPORT ret_t nvmlDeviceGetGpuInstanceProfileInfo(gpu_t *gpu, u32 number_, profile_info_t *out) {
    profile_t one;
    ENTER_GPU if (!out || number_ >= PROFILES) return INVALID_ARGUMENT;
    ret_t r = read_profile(&conf, number_, &one);
    if (!r) *out = (profile_info_t){.id = one.id, .slices = one.slices, .instances = one.most, .memory = one.memory};
    return r;
}
typedef struct { u32 version, id, p2p, slices, instances, sms, copies, decoders, encoders, jpegs, ofas; u64 memory; char name[96]; } profile_info_v2_t;
EXPORT ret_t nvmlDeviceGetGpuInstanceProfileInfoV(gpu_t *gpu, u32 number_, profile_info_v2_t *out) {
    profile_t one;
    ENTER_GPU if (!out || number_ >= PROFILES) return INVALID_ARGUMENT;
    if (out->version != VERSION(profile_info_v2_t, 2)) return INVALID_ARGUMENT; /* as a real one */
    ret_t r = read_profile(&conf, number_, &one);
    if (r) return r;
    *out = (profile_info_v2_t){.id = one.id, .slices = one.slices, .instances = one.most, .memory = one.memory};
    snprintf(out->name, sizeof out->name, "MIG %s", one.name);
    return OK;
}
EXPORT ret_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu_t *gpu, u32 id, span_t *out, u32 *count) {
    profile_t one;
    ENTER_MIG if (!count) return INVALID_ARGUMENT;
    ret_t r = find_profile(&conf, id, &one);
    if (r) return r;
    u32 room = *count;
    *count = one.count;
    if (!out) return OK;
    if (room < one.count) return TOO_SMALL;
    for (u32 i = 0; i < one.count; i++) out[i] = (span_t){one.starts[i], one.size};
    return OK;
}
static int is_free(const mig_t *mig, span_t span) {
    for (u32 g = 0; g < INSTANCES; g++) {
        span_t other = mig->gi[g].span;
        if (mig->gi[g].there && span.start < other.start + other.size && other.start < span.start + span.size) return 0;
    }
    return 1;
}
static u32 count_of(const mig_t *mig, u32 profile) {
    u32 count = 0;
    for (u32 g = 0; g < INSTANCES; g++) count += mig->gi[g].there && mig->gi[g].profile == profile;
    return count;
}
EXPORT ret_t nvmlDeviceCreateGpuInstanceWithPlacement(gpu_t *gpu, u32 id, const span_t *span, gi_t **out) {
    profile_t one;
    u32 fits = 0, g = 1;
    ENTER_MIG if (!span || !out) return INVALID_ARGUMENT;
    if (!mig.mode) return NOT_SUPPORTED;
    ret_t r = find_profile(&conf, id, &one);
    if (r) return r;
    for (u32 i = 0; i < one.count; i++) fits |= one.starts[i] == span->start && one.size == span->size;
    if (!fits) return INVALID_ARGUMENT;
    while (g < INSTANCES && mig.gi[g].there) g++;
    if (g == INSTANCES || !is_free(&mig, *span) || count_of(&mig, id) >= one.most) return NO_ROOM;
    mig.gi[g] = (instance_t){.there = 1, .profile = id, .span = *span};
    *out = &gis[gpu->index][g];
    return save_mig(gpu->index, &mig);
}
EXPORT ret_t nvmlDeviceGetGpuInstances(gpu_t *gpu, u32 profile, gi_t **out, u32 *count) {
    ENTER_MIG if (!out || !count) return INVALID_ARGUMENT;
    *count = 0;
    for (u32 g = 0; g < INSTANCES; g++)
        if (mig.gi[g].there && mig.gi[g].profile == profile) out[(*count)++] = &gis[gpu->index][g];
    return OK;
}
typedef struct { gpu_t *gpu; u32 id, profile; span_t span; } gi_info_t;
EXPORT ret_t nvmlGpuInstanceGetInfo(gi_t *gi, gi_info_t *out) {
    ENTER_GI if (!out) return INVALID_ARGUMENT;
    *out = (gi_info_t){&gpus[gi->gpu], gi->id, mig.gi[gi->id].profile, mig.gi[gi->id].span};
    return OK;
}
EXPORT ret_t nvmlGpuInstanceDestroy(gi_t *gi) {
    ENTER_GI for (u32 c = 0; c < COMPUTES; c++)
        if (mig.gi[gi->id].there_ci[c]) return IN_USE;
    mig.gi[gi->id].there = 0;
    return save_mig(gi->gpu, &mig);
}

/* --- compute instances --- */

/* How many of an instance's slices its compute instances have taken; of all slices where `all` is set. */
static u32 slices_of(const conf_t *conf, const instance_t *one, int all) {
    profile_t profile;
    u32 taken = 0;
    if (all) return find_profile(conf, one->profile, &profile) ? 0 : profile.slices;
    for (u32 c = 0; c < COMPUTES; c++) taken += one->there_ci[c] ? COMPUTE_SLICES[one->profile_ci[c]] : 0;
    return taken;
}
typedef struct { u32 id, slices, instances, sms, copies, decoders, encoders, jpegs, ofas; } ci_profile_t;
EXPORT ret_t nvmlGpuInstanceGetComputeInstanceProfileInfo(gi_t *gi, u32 number_, u32 engine, ci_profile_t *out) {
    ENTER_GI if (!out || number_ >= COMPUTE_PROFILES || engine) return INVALID_ARGUMENT;
    u32 all = slices_of(&conf, &mig.gi[gi->id], 1), slices = COMPUTE_SLICES[number_];
    if (slices > all || number_ > 4) return NOT_SUPPORTED;
    *out = (ci_profile_t){.id = number_, .slices = slices, .instances = all / slices};
    return OK;
}
EXPORT ret_t nvmlGpuInstanceCreateComputeInstance(gi_t *gi, u32 profile, ci_t **out) {
    u32 c = 0;
    ENTER_GI if (!out || profile > 4) return INVALID_ARGUMENT;
    instance_t *one = &mig.gi[gi->id];
    while (c < COMPUTES && one->there_ci[c]) c++;
    if (c == COMPUTES || slices_of(&conf, one, 0) + COMPUTE_SLICES[profile] > slices_of(&conf, one, 1)) return NO_ROOM;
    one->there_ci[c] = 1;
    one->profile_ci[c] = profile;
    *out = &cis[gi->gpu][gi->id][c];
    return save_mig(gi->gpu, &mig);
}
EXPORT ret_t nvmlGpuInstanceGetComputeInstances(gi_t *gi, u32 profile, ci_t **out, u32 *count) {
    ENTER_GI if (!out || !count) return INVALID_ARGUMENT;
    *count = 0;
    for (u32 c = 0; c < COMPUTES; c++)
        if (mig.gi[gi->id].there_ci[c] && mig.gi[gi->id].profile_ci[c] == profile) out[(*count)++] = &cis[gi->gpu][gi->id][c];
    return OK;
}
EXPORT ret_t nvmlComputeInstanceDestroy(ci_t *ci) {
    ENTER_CI if (is_used(&conf, (int)ci->gi)) return IN_USE;
    mig.gi[ci->gi].there_ci[ci->id] = 0;
    return save_mig(ci->gpu, &mig);
}

/* --- devices: what CUDA sees --- */

EXPORT ret_t nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *gpu, u32 index, device_t **out) {
    ENTER_MIG if (!out || index >= 7) return INVALID_ARGUMENT;
    for (u32 g = 0; mig.mode && g < INSTANCES; g++)
        for (u32 c = 0; c < COMPUTES; c++) {
            if (!mig.gi[g].there_ci[c] || index--) continue;
            *out = &devices[gpu->index][g][c];
            return OK;
        }
    return NOT_FOUND;
}
#define ENTER_DEVICE ENTER_ONE(devices, (&device->of)) \
    if (!mig.gi[device->of.gi].there_ci[device->of.id]) return NOT_FOUND;
EXPORT ret_t nvmlDeviceIsMigDeviceHandle(void *handle, u32 *out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = WITHIN(handle, devices);
    return OK;
}
EXPORT ret_t nvmlDeviceGetGpuInstanceId(device_t *device, u32 *out) {
    ENTER_DEVICE if (!out) return INVALID_ARGUMENT;
    *out = device->of.gi;
    return OK;
}
EXPORT ret_t nvmlDeviceGetComputeInstanceId(device_t *device, u32 *out) {
    ENTER_DEVICE if (!out) return INVALID_ARGUMENT;
    *out = device->of.id;
    return OK;
}
EXPORT ret_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_t *device, gpu_t **out) {
    ENTER_DEVICE if (!out) return INVALID_ARGUMENT;
    *out = &gpus[device->of.gpu];
    return OK;
}
/* Of the GPU, and of an instance: its name is told from the GPU's. */
EXPORT ret_t nvmlDeviceGetUUID(gpu_t *gpu, char *out, u32 size) {
    char whole[64] = "";
    if (!WITHIN(gpu, devices)) {
        ENTER_GPU return text(&conf, "uuid", out, size);
    }
    device_t *device = (device_t *)gpu;
    ENTER_DEVICE if (!out) return INVALID_ARGUMENT;
    ret_t r = text(&conf, "uuid", whole, sizeof whole);
    if (r || strlen(whole) < 40) return r ? r : NOT_SUPPORTED;
    int length = snprintf(out, size, "MIG-%.8s-%04x-5%03x-8000-%.12s", whole + 4, device->of.gi, device->of.id, whole + 28);
    return length < (int)size ? OK : TOO_SMALL;
}
