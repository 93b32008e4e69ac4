/* NVLink and the fabric. nvlinks=N: how many; nvlink.K=0: link K is down; nvlink.K.replay=... its errors. */

static const char *link_key(u32 link, const char *rest) {
    static __thread char key[64];
    snprintf(key, sizeof key, "nvlink.%u%s", link, rest);
    return key;
}

static ret_t check_link(const conf_t *conf, u32 link) {
    if (!find(conf, "nvlinks")) return NOT_SUPPORTED;
    return link < number(conf, "nvlinks", 0) ? OK : INVALID_ARGUMENT;
}

#define ENTER_LINK ENTER_GPU { ret_t r = check_link(&conf, link); if (r || !out) return r ? r : INVALID_ARGUMENT; }

EXPORT ret_t nvmlDeviceGetNvLinkState(gpu_t *gpu, u32 link, u32 *out) {
    ENTER_LINK *out = (u32)number(&conf, link_key(link, ""), 1);
    return OK;
}
EXPORT ret_t nvmlDeviceGetNvLinkVersion(gpu_t *gpu, u32 link, u32 *out) {
    ENTER_LINK return get_u32(&conf, "nvlink_version", out);
}
EXPORT ret_t nvmlDeviceGetNvLinkRemoteDeviceType(gpu_t *gpu, u32 link, u32 *out) {
    ENTER_LINK return get_u32(&conf, "nvlink_remote", out);
}
EXPORT ret_t nvmlDeviceGetNvLinkCapability(gpu_t *gpu, u32 link, u32 capability, u32 *out) {
    ENTER_LINK if (capability > 5) return INVALID_ARGUMENT;
    *out = number(&conf, "nvlink_capabilities", 0) >> capability & 1;
    return OK;
}
EXPORT ret_t nvmlDeviceGetNvLinkErrorCounter(gpu_t *gpu, u32 link, u32 counter, u64 *out) {
    static const char *keys[] = {".replay", ".recovery", ".crc_flit", ".crc_data", ".ecc"};
    ENTER_LINK if (counter >= LENGTH(keys)) return INVALID_ARGUMENT;
    *out = number(&conf, link_key(link, keys[counter]), 0);
    return OK;
}
/* The four NVSwitches of a board stand on the bus one after the other; a GPU's links go round them. */
EXPORT ret_t nvmlDeviceGetNvLinkRemotePciInfo_v2(gpu_t *gpu, u32 link, pci_t *out) {
    ENTER_LINK u64 bus = 0;
    ret_t r = get(&conf, "nvlink_remote_bus", &bus);
    if (!r) write_pci(out, (place_t){0, (u32)bus + link % 4, 0}, (u32)number(&conf, "nvlink_remote_id", 0), 0);
    return r;
}

enum { FABRIC_UUID = 16 };
typedef struct { unsigned char cluster[FABRIC_UUID]; ret_t status; u32 clique, state; } fabric_t;
typedef struct { u32 version; unsigned char cluster[FABRIC_UUID]; ret_t status; u32 clique, state; u32 health; } fabric2_t;
typedef struct { u32 version; unsigned char cluster[FABRIC_UUID]; ret_t status; u32 clique, state; u32 health; unsigned char summary; } fabric3_t;

/* fabric_cluster: 32 hexadecimal digits */
static ret_t read_fabric(const conf_t *conf, fabric3_t *out) {
    u64 state = 0;
    memset(out, 0, sizeof *out);
    ret_t r = get(conf, "fabric_state", &state);
    if (r) return r;
    const char *digits = find(conf, "fabric_cluster");
    for (u32 i = 0, byte; digits && i < FABRIC_UUID && sscanf(digits + 2 * i, "%2x", &byte) == 1; i++)
        out->cluster[i] = (unsigned char)byte;
    out->state = (u32)state;
    out->status = (ret_t)number(conf, "fabric_status", 0);
    out->clique = (u32)number(conf, "fabric_clique", 0);
    out->health = (u32)number(conf, "fabric_health", 0);
    out->summary = (unsigned char)number(conf, "fabric_summary", 0);
    return OK;
}

EXPORT ret_t nvmlDeviceGetGpuFabricInfo(gpu_t *gpu, fabric_t *out) {
    fabric3_t all;
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    ret_t r = read_fabric(&conf, &all);
    if (r) return r;
    *out = (fabric_t){.status = all.status, .clique = all.clique, .state = all.state};
    memcpy(out->cluster, all.cluster, FABRIC_UUID);
    return OK;
}
/* The second version is the third without its last member. */
EXPORT ret_t nvmlDeviceGetGpuFabricInfoV(gpu_t *gpu, fabric2_t *out) {
    fabric3_t all;
    ENTER_GPU if (!out) return INVALID_ARGUMENT;
    u32 version = out->version;
    if (version != VERSION(fabric2_t, 2) && version != VERSION(fabric3_t, 3)) return WRONG_VERSION;
    ret_t r = read_fabric(&conf, &all);
    if (r) return r;
    all.version = version;
    memcpy(out, &all, version == VERSION(fabric3_t, 3) ? sizeof(fabric3_t) : sizeof(fabric2_t));
    return OK;
}
