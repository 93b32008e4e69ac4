/* A simulated libnvidia-ml.so.1: answers what plain files say, and reads them again on every call.
 *
 * $DSOPS_LAB_GPUS, else /run/dsops-lab-gpus, holds driver.conf and gpu0.conf, gpu1.conf ...: lines of key=value.
 * keys.toml says what each key means; a call whose key is not there is "not supported", as on a card that lacks it.
 *   conf.h    the files; return=CODE, hang=SECONDS; counters that grow by themselves
 *   tables.h  calls that read one value, and fields      links.h  NVLink and fabric      events.h  Xid and others
 *   mig.h     GPUs divided into instances: what calls change
 *   here      the library, the driver, which GPU, and what has a structure of its own
 * Signatures and structures: NVIDIA's public NVML API reference. Built with -DnvmlX=absent_nvmlX, a function is not
 * exported. Answers were compared with a real H100's: tests/lab/h100_answers.jsonl.
 */
#include "conf.h"
#include "tables.h"
#include "mig.h"

/* --- library and driver --- */

EXPORT ret_t nvmlInitWithFlags(u32 flags) {
    conf_t conf;
    (void)flags;
    users++;
    ret_t r = enter(&conf, "nvmlInit");
    if (r) users--;
    else for (u32 i = 0; i < GPUS; i++) gpus[i].index = i, begin_mig(i);
    return r;
}
EXPORT ret_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT ret_t nvmlShutdown(void) { return users ? (users--, OK) : UNINITIALIZED; }

EXPORT const char *nvmlErrorString(ret_t code) {
    static const char *names[] = {
        [OK] = "Success", [UNINITIALIZED] = "Uninitialized", [INVALID_ARGUMENT] = "Invalid Argument",
        [NOT_SUPPORTED] = "Not Supported", [NO_PERMISSION] = "Insufficient Permissions", [NOT_FOUND] = "Not Found",
        [TOO_SMALL] = "Insufficient Size", [9] = "Driver Not Loaded", [TIMED_OUT] = "Timeout",
        [12] = "NVML Shared Library Not Found", [FUNCTION_NOT_FOUND] = "Function Not Found",
        [CORRUPTED_INFOROM] = "Corrupted infoROM", [LOST] = "GPU is lost",
        [RESET_REQUIRED] = "GPU requires reset", [IN_USE] = "In use by another client",
        [NO_ROOM] = "Insufficient Resources",
        [18] = "Driver/library version mismatch", [WRONG_VERSION] = "Argument version mismatch", [27] = "Not Ready"};
    return code >= 0 && (size_t)code < LENGTH(names) && names[code] ? names[code] : "Unknown Error";
}

#define CUDA_VERSION(function) \
    EXPORT ret_t function(int *out) { ENTER return out ? get_u32(&conf, "cuda_version", (u32 *)out) : INVALID_ARGUMENT; }
CUDA_VERSION(nvmlSystemGetCudaDriverVersion)
CUDA_VERSION(nvmlSystemGetCudaDriverVersion_v2)

typedef struct { u32 version; char branch[80]; } branch_t;
EXPORT ret_t nvmlSystemGetDriverBranch(branch_t *out, u32 size) {
    ENTER if (!out || !size) return INVALID_ARGUMENT;
    if (out->version != VERSION(branch_t, 1)) return WRONG_VERSION;
    return text(&conf, "driver_branch", out->branch, sizeof out->branch);
}
EXPORT ret_t nvmlSystemGetHicVersion(u32 *count, void *entries) {
    (void)entries;
    ENTER if (!count) return INVALID_ARGUMENT;
    *count = 0;
    return OK;
}
EXPORT ret_t nvmlUnitGetCount(u32 *out) {
    ENTER if (!out) return INVALID_ARGUMENT;
    *out = 0;
    return OK;
}
EXPORT ret_t nvmlSystemGetProcessName(u32 pid, char *out, u32 size) {
    char path[64];
    ENTER if (!out || !size) return INVALID_ARGUMENT;
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (!file) return NOT_FOUND;
    out[fread(out, 1, size - 1, file)] = 0; /* its words end in zeros: the first one is the name */
    fclose(file);
    return OK;
}

/* --- which GPU --- */

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
EXPORT ret_t nvmlDeviceGetIndex(gpu_t *gpu, u32 *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    *out = gpu->index;
    return OK;
}

typedef struct { u32 domain, bus, device; } place_t;
static place_t read_place(const conf_t *conf) {
    return (place_t){(u32)number(conf, "pci_domain", 0), (u32)number(conf, "pci_bus", 0) & 0xff,
                     (u32)number(conf, "pci_device", 0) & 0x1f};
}

/* A GPU found by what its file says of it. */
static ret_t find_gpu(const char *key, const char *wanted, const place_t *place, const char *function, gpu_t **out) {
    conf_t driver, conf;
    ret_t r = enter(&driver, function);
    if (r || !wanted || !out) return r ? r : INVALID_ARGUMENT;
    for (u32 i = 0; i < GPUS && i < number(&driver, "count", 0); i++) {
        if (!load_gpu(&conf, i)) continue;
        place_t here = read_place(&conf);
        if (place ? memcmp(&here, place, sizeof here) : !says(&conf, key, wanted)) continue;
        r = enter_gpu(&conf, &gpus[i], function);
        if (!r) *out = &gpus[i];
        return r;
    }
    return NOT_FOUND;
}
EXPORT ret_t nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **out) {
    return find_gpu("uuid", uuid, NULL, __func__, out);
}
EXPORT ret_t nvmlDeviceGetHandleBySerial(const char *serial, gpu_t **out) {
    return find_gpu("serial", serial, NULL, __func__, out);
}
EXPORT ret_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, gpu_t **out) {
    place_t place = {0, 0, 0};
    if (id && sscanf(id, "%x:%x:%x", &place.domain, &place.bus, &place.device) != 3) {
        place.domain = 0;
        if (sscanf(id, "%x:%x", &place.bus, &place.device) != 2) return users ? INVALID_ARGUMENT : UNINITIALIZED;
    }
    return find_gpu("pci_bus", id, &place, __func__, out);
}

typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
static void write_pci(pci_t *out, place_t at, u32 id, u32 subsystem) {
    *out = (pci_t){.domain = at.domain, .bus = at.bus, .device = at.device, .id = id, .subsystem = subsystem};
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", at.domain & 0xffff, at.bus & 0xff, at.device & 0xff);
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", at.domain, at.bus & 0xff, at.device & 0xff);
}
EXPORT ret_t nvmlDeviceGetPciInfo_v3(gpu_t *gpu, pci_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    write_pci(out, read_place(&conf), (u32)number(&conf, "pci_id", 0), (u32)number(&conf, "pci_subsystem", 0));
    return OK;
}
typedef struct { u32 version, domain, bus, device, id, subsystem, base_class, sub_class; char bus_id[32]; } pci_ext_t;
EXPORT ret_t nvmlDeviceGetPciInfoExt(gpu_t *gpu, pci_ext_t *out) {
    pci_t pci;
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(pci_ext_t, 1)) return WRONG_VERSION;
    write_pci(&pci, read_place(&conf), (u32)number(&conf, "pci_id", 0), (u32)number(&conf, "pci_subsystem", 0));
    *out = (pci_ext_t){out->version, pci.domain, pci.bus, pci.device, pci.id, pci.subsystem, 3, 2, {0}}; /* 3D controller */
    memcpy(out->bus_id, pci.bus_id, sizeof out->bus_id);
    return OK;
}

EXPORT ret_t nvmlDeviceOnSameBoard(gpu_t *gpu, gpu_t *other, int *out) {
    ENTER_GPU if (!other || !out) return INVALID_ARGUMENT;
    *out = gpu == other;
    return OK;
}
EXPORT ret_t nvmlDeviceGetTopologyCommonAncestor(gpu_t *gpu, gpu_t *other, u32 *out) {
    ENTER_GPU if (!other || !out) return INVALID_ARGUMENT;
    return gpu == other ? NOT_SUPPORTED : get_u32(&conf, "topology", out);
}
EXPORT ret_t nvmlDeviceGetP2PStatus(gpu_t *gpu, gpu_t *other, u32 index, u32 *out) {
    ENTER_GPU if (!other || !out || index > 5) return INVALID_ARGUMENT;
    return get_u32(&conf, "p2p", out);
}

/* --- one GPU: what has a structure of its own --- */

EXPORT ret_t nvmlDeviceGetInforomVersion(gpu_t *gpu, u32 object, char *out, u32 size) {
    static const char *keys[] = {"inforom_oem", "inforom_ecc", "inforom_power", "inforom_den"};
    ENTER_GPU return object < LENGTH(keys) ? text(&conf, keys[object], out, size) : INVALID_ARGUMENT;
}
EXPORT ret_t nvmlDeviceValidateInforom(gpu_t *gpu) {
    ENTER_GPU return number(&conf, "inforom_corrupt", 0) ? CORRUPTED_INFOROM : OK;
}
EXPORT ret_t nvmlDeviceGetGspFirmwareVersion(gpu_t *gpu, char *out) {
    ENTER_GPU return text(&conf, "gsp_version", out, 64);
}

typedef struct { u64 total, free, used; } memory_t;
typedef struct { u32 version; u64 total, reserved, free, used; } memory2_t;
static ret_t read_memory(const conf_t *conf, memory2_t *out) {
    ret_t r = get(conf, "memory_total", &out->total);
    out->reserved = number(conf, "memory_reserved", 0);
    out->used = number(conf, "memory_used", 0);
    out->free = out->total - out->reserved;
    out->free = out->free > out->used ? out->free - out->used : 0;
    return r;
}
EXPORT ret_t nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *out) {
    memory2_t all = {0, 0, 0, 0, 0};
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    ret_t r = read_memory(&conf, &all);
    if (!r) *out = (memory_t){all.total, all.free, all.total - all.free};
    return r;
}
EXPORT ret_t nvmlDeviceGetMemoryInfo_v2(gpu_t *gpu, memory2_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(memory2_t, 2)) return FUNCTION_NOT_FOUND; /* as a real H100 answers */
    return read_memory(&conf, out);
}
EXPORT ret_t nvmlDeviceGetBAR1MemoryInfo(gpu_t *gpu, memory_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    ret_t r = get(&conf, "bar1_total", &out->total);
    out->used = number(&conf, "bar1_used", 0);
    out->free = out->total - out->used;
    return r;
}

typedef struct { u32 gpu, memory; } utilization_t;
EXPORT ret_t nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    ret_t r = get_u32(&conf, "utilization_gpu", &out->gpu);
    out->memory = (u32)number(&conf, "utilization_memory", 0);
    return r;
}

typedef struct { u32 version, sensor; int value; } temperature_t;
EXPORT ret_t nvmlDeviceGetTemperatureV(gpu_t *gpu, temperature_t *out) {
    ENTER_GPU if (!out || out->sensor) return INVALID_ARGUMENT;
    if (out->version != VERSION(temperature_t, 1)) return WRONG_VERSION;
    return get_u32(&conf, "temperature", (u32 *)&out->value);
}
typedef struct { u32 version; int value; } margin_t;
EXPORT ret_t nvmlDeviceGetMarginTemperature(gpu_t *gpu, margin_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(margin_t, 1)) return WRONG_VERSION;
    if (!find(&conf, "tlimit_gpu_max")) return NOT_SUPPORTED;
    out->value = (int)number(&conf, "temperature_gpu_max", 0) - (int)number(&conf, "temperature", 0);
    return OK;
}

typedef struct { u64 reference, violation; } violation_t; /* µs since 1970, ns */
EXPORT ret_t nvmlDeviceGetViolationStatus(gpu_t *gpu, u32 policy, violation_t *out) {
    static const char *keys[12] = {
        "violation.power", "violation.thermal", "violation.sync_boost", "violation.board_limit",
        "violation.low_utilization", "violation.reliability", [10] = "violation.app_clocks", "violation.base_clocks"};
    ENTER_GPU if (!out || policy >= LENGTH(keys) || !keys[policy]) return INVALID_ARGUMENT;
    out->reference = (u64)(seconds(CLOCK_REALTIME) * 1e6);
    return get(&conf, keys[policy], &out->violation);
}

/* --- memory errors: ecc_corrected=N, of them ecc_corrected.sram; since the card was made ..._total --- */

static const char *ECC[2][2] = {{"ecc_corrected", "ecc_corrected_total"}, {"ecc_uncorrected", "ecc_uncorrected_total"}};
enum { CORRECTED = 0, UNCORRECTED = 1, VOLATILE = 0, AGGREGATE = 1, DRAM = 2, SRAM = 7, PLACES = 8 };

static ret_t read_ecc(const conf_t *conf, u32 kind, u32 counter, const char *rest, u64 *out) {
    char now_key[48], ever_key[48];
    snprintf(now_key, sizeof now_key, "%s%s", ECC[kind][VOLATILE], rest);
    snprintf(ever_key, sizeof ever_key, "%s%s", ECC[kind][counter], rest);
    *out = number(conf, ever_key, number(conf, now_key, 0)); /* all there ever were, unless a file knows of more */
    return find(conf, ECC[kind][VOLATILE]) ? OK : NOT_SUPPORTED;
}
EXPORT ret_t nvmlDeviceGetTotalEccErrors(gpu_t *gpu, u32 kind, u32 counter, u64 *out) {
    ENTER_GPU if (!out || kind > 1 || counter > 1) return INVALID_ARGUMENT;
    return read_ecc(&conf, kind, counter, "", out);
}
static ret_t read_place_ecc(const conf_t *conf, u32 kind, u32 counter, u32 place, u64 *out) {
    u64 all = 0, sram = 0;
    if (!out || kind > 1 || counter > 1 || place >= PLACES) return INVALID_ARGUMENT;
    ret_t r = place == DRAM || place == SRAM ? read_ecc(conf, kind, counter, "", &all) : NOT_SUPPORTED;
    if (r) return r;
    read_ecc(conf, kind, counter, ".sram", &sram);
    *out = place == SRAM ? sram : all > sram ? all - sram : 0;
    return OK;
}
EXPORT ret_t nvmlDeviceGetMemoryErrorCounter(gpu_t *gpu, u32 kind, u32 counter, u32 place, u64 *out) {
    ENTER_GPU return read_place_ecc(&conf, kind, counter, place, out);
}
typedef struct { u64 l1, l2, device, registers; } ecc_counts_t;
EXPORT ret_t nvmlDeviceGetDetailedEccErrors(gpu_t *gpu, u32 kind, u32 counter, ecc_counts_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    *out = (ecc_counts_t){0, 0, 0, 0};
    return read_place_ecc(&conf, kind, counter, DRAM, &out->device);
}
typedef struct {
    u32 version;
    u64 ever_parity, ever_secded, ever_corrected, parity, secded, corrected, l2, sm, pcie, mcu, other;
    u32 exceeded;
} sram_t;
EXPORT ret_t nvmlDeviceGetSramEccErrorStatus(gpu_t *gpu, sram_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(sram_t, 1)) return WRONG_VERSION;
    *out = (sram_t){.version = out->version};
    read_ecc(&conf, UNCORRECTED, VOLATILE, ".sram", &out->secded);
    read_ecc(&conf, UNCORRECTED, AGGREGATE, ".sram", &out->ever_secded);
    read_ecc(&conf, CORRECTED, VOLATILE, ".sram", &out->corrected);
    read_ecc(&conf, CORRECTED, AGGREGATE, ".sram", &out->ever_corrected);
    out->l2 = out->ever_secded; /* where they were is not told apart here */
    return get_u32(&conf, "sram_threshold_exceeded", &out->exceeded);
}

EXPORT ret_t nvmlDeviceGetRemappedRows(gpu_t *gpu, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    ENTER_GPU if (!corrected || !uncorrected || !pending || !failed) return INVALID_ARGUMENT;
    *uncorrected = (u32)number(&conf, "remap_uncorrected", 0);
    *pending = (u32)number(&conf, "remap_pending", 0);
    *failed = (u32)number(&conf, "remap_failed", 0);
    return get_u32(&conf, "remap_corrected", corrected);
}
typedef struct { u32 max, high, partial, low, none; } histogram_t;
EXPORT ret_t nvmlDeviceGetRowRemapperHistogram(gpu_t *gpu, histogram_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    const char *five = find(&conf, "remap_histogram");
    int read = five ? sscanf(five, "%u %u %u %u %u", &out->max, &out->high, &out->partial, &out->low, &out->none) : 0;
    return read == 5 ? OK : NOT_SUPPORTED;
}
typedef struct { u32 version, channel, tpc; } repair_t;
EXPORT ret_t nvmlDeviceGetRepairStatus(gpu_t *gpu, repair_t *out) {
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(repair_t, 1)) return WRONG_VERSION;
    out->tpc = (u32)number(&conf, "repair_tpc", 0);
    return get_u32(&conf, "repair_channel", &out->channel);
}

/* Before Ampere: so many pages, whose addresses stand for any. */
static ret_t read_retired(const conf_t *conf, u32 cause, u32 *count, u64 *pages, u64 *times) {
    u64 there = 0;
    if (!count || cause > 1) return INVALID_ARGUMENT;
    ret_t r = get(conf, cause ? "retired_dbe" : "retired_sbe", &there);
    if (r) return r;
    u32 room = *count;
    *count = (u32)there;
    if (there > room) return TOO_SMALL;
    for (u64 i = 0; pages && i < there; i++) {
        pages[i] = (i + 1) << 12;
        if (times) times[i] = (u64)(seconds(CLOCK_REALTIME) * 1e6);
    }
    return OK;
}
EXPORT ret_t nvmlDeviceGetRetiredPages(gpu_t *gpu, u32 cause, u32 *count, u64 *pages) {
    ENTER_GPU return read_retired(&conf, cause, count, pages, NULL);
}
EXPORT ret_t nvmlDeviceGetRetiredPages_v2(gpu_t *gpu, u32 cause, u32 *count, u64 *pages, u64 *times) {
    ENTER_GPU return read_retired(&conf, cause, count, pages, times);
}

typedef struct { u32 version; char guid[16], chassis[16]; unsigned char slot, tray, host, peer, module; } platform_t;
EXPORT ret_t nvmlDeviceGetPlatformInfo(gpu_t *gpu, platform_t *out) {
    u32 module = 0;
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSION(platform_t, 1) && out->version != VERSION(platform_t, 2)) return WRONG_VERSION;
    ret_t r = get_u32(&conf, "platform_host", &module) ? NOT_SUPPORTED : get_u32(&conf, "module_id", &module);
    if (r) return r;
    *out = (platform_t){.version = out->version, .module = (unsigned char)module};
    out->host = (unsigned char)number(&conf, "platform_host", 0);
    return OK;
}

/* --- processes: process.PID=BYTES, in an instance BYTES GI CI --- */

typedef struct { u32 pid; u64 memory; u32 gpu_instance, compute_instance; } process_t;
static ret_t read_processes(gpu_t *gpu, u32 *count, process_t *out, const char *function, int any) {
    conf_t conf;
    ret_t r = enter_gpu(&conf, gpu, function);
    if (r || !count) return r ? r : INVALID_ARGUMENT;
    u32 room = *count, found = 0;
    for (const char *line = conf.text; any && line; line = strchr(line, '\n')) {
        process_t one = {0, 0, 0xffffffff, 0xffffffff};
        if (*line == '\n') line++;
        if (sscanf(line, "process.%u=%llu %u %u", &one.pid, &one.memory, &one.gpu_instance, &one.compute_instance) < 2) continue;
        if (out && found < room) out[found] = one;
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}
#define PROCESSES(function, any) \
    EXPORT ret_t function(gpu_t *gpu, u32 *count, process_t *out) { return read_processes(gpu, count, out, __func__, any); }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, 1)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, 1)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, 0)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, 0)

#include "links.h"
#include "events.h"

/* --- fields --- */

typedef struct { u32 id, scope; long long at, took; u32 type; ret_t result; u64 value; } field_t;
static ret_t read_field(const conf_t *conf, field_t *field) {
    char key[64];
    snprintf(key, sizeof key, "field.%u", field->id); /* a file may say any field itself */
    field->type = 3;
    if (!get(conf, key, &field->value)) return OK;
    for (size_t i = 0; i < LENGTH(FIELDS); i++) {
        if (FIELDS[i].id != field->id) continue;
        field->type = FIELDS[i].type;
        if (!strncmp(FIELDS[i].key, "ecc_", 4) && strstr(FIELDS[i].key, "corrected"))
            return read_ecc(conf, field->id % 2 ? CORRECTED : UNCORRECTED, field->id > 4, "", &field->value);
        if (!strncmp(FIELDS[i].key, "nvlink.", 7)) {
            ret_t r = check_link(conf, field->scope);
            snprintf(key, sizeof key, "nvlink.%u%s", field->scope, FIELDS[i].key + strlen("nvlink.%u"));
            field->value = number(conf, key, field->id == 165);
            return r;
        }
        ret_t r = get(conf, FIELDS[i].key, &field->value);
        if (field->type == 1 || field->type == 5) field->value &= 0xffffffff;
        return r;
    }
    return field->id > NEWEST_KNOWN_FIELD ? INVALID_ARGUMENT : NOT_SUPPORTED;
}
EXPORT ret_t nvmlDeviceGetFieldValues(gpu_t *gpu, int count, field_t *fields) {
    ENTER_GPU if (!fields || count < 1) return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        fields[i].value = 0;
        fields[i].at = (long long)(seconds(CLOCK_REALTIME) * 1e6);
        fields[i].took = 0;
        fields[i].result = read_field(&conf, &fields[i]);
    }
    return OK;
}
