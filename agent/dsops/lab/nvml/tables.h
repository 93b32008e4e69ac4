/* The calls that read one value of one GPU: function, and the key that it answers. */

/* (gpu, out) */
#define NUMBER(function, type, key) \
    EXPORT ret_t function(gpu_t *gpu, type *out) { \
        u64 value = 0; \
        ENTER_GPU ret_t r = out ? get(&conf, key, &value) : INVALID_ARGUMENT; \
        if (!r) *out = (type)value; \
        return r; }
NUMBER(nvmlDeviceGetInforomConfigurationChecksum, u32, "inforom_checksum")
NUMBER(nvmlDeviceGetBrand, u32, "brand")
NUMBER(nvmlDeviceGetBoardId, u32, "board_id")
NUMBER(nvmlDeviceGetMultiGpuBoard, u32, "multi_gpu_board")
NUMBER(nvmlDeviceGetModuleId, u32, "module_id")
NUMBER(nvmlDeviceGetNumaNodeId, int, "numa_node")
NUMBER(nvmlDeviceGetMinorNumber, u32, "minor")
NUMBER(nvmlDeviceGetArchitecture, u32, "architecture")
NUMBER(nvmlDeviceGetNumGpuCores, u32, "cores")
NUMBER(nvmlDeviceGetMemoryBusWidth, u32, "memory_bus_width")
NUMBER(nvmlDeviceGetIrqNum, u32, "irq")
NUMBER(nvmlDeviceGetBusType, u32, "bus_type")
NUMBER(nvmlDeviceGetNumFans, u32, "fans")
NUMBER(nvmlDeviceGetDisplayMode, u32, "display_mode")
NUMBER(nvmlDeviceGetDisplayActive, u32, "display_active")
NUMBER(nvmlDeviceGetAccountingMode, u32, "accounting")
NUMBER(nvmlDeviceGetVirtualizationMode, u32, "virtualization")
NUMBER(nvmlDeviceGetPersistenceMode, u32, "persistence")
NUMBER(nvmlDeviceGetComputeMode, u32, "compute_mode")
NUMBER(nvmlDeviceGetPowerUsage, u32, "power") /* mW, as all power is */
NUMBER(nvmlDeviceGetPowerManagementMode, u32, "power_management")
NUMBER(nvmlDeviceGetPowerManagementLimit, u32, "power_limit")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, u32, "power_limit_default")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, "power_limit")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, u64, "energy") /* mJ */
NUMBER(nvmlDeviceGetPowerSource, u32, "power_source")
NUMBER(nvmlDeviceGetPerformanceState, u32, "performance_state")
NUMBER(nvmlDeviceGetPowerState, u32, "performance_state")
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, "clocks_event_reasons")
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, u64, "clocks_event_reasons")
NUMBER(nvmlDeviceGetSupportedClocksEventReasons, u64, "clocks_event_reasons_supported")
NUMBER(nvmlDeviceGetSupportedClocksThrottleReasons, u64, "clocks_event_reasons_supported")
NUMBER(nvmlDeviceGetDefaultEccMode, u32, "ecc_mode_default")
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, u32, "retired_pending")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, "pcie_generation")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, "pcie_generation_max")
NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, u32, "pcie_generation_gpu")
NUMBER(nvmlDeviceGetPcieLinkMaxSpeed, u32, "pcie_generation_gpu") /* an enumeration that counts as generations do */
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, "pcie_width")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, "pcie_width_max")
NUMBER(nvmlDeviceGetPcieSpeed, u32, "pcie_speed") /* MB/s a lane */
NUMBER(nvmlDeviceGetPcieReplayCounter, u32, "pcie_replays")
NUMBER(nvmlDeviceGetSupportedEventTypes, u64, "event_types")

/* (gpu, out, out) */
#define PAIR(function, type, first, second) \
    EXPORT ret_t function(gpu_t *gpu, type *one, type *two) { \
        u64 a = 0, b = 0; \
        ENTER_GPU ret_t r = one && two ? get(&conf, first, &a) : INVALID_ARGUMENT; \
        if (!r) *one = (type)a, r = get(&conf, second, &b); \
        if (!r) *two = (type)b; \
        return r; }
PAIR(nvmlDeviceGetCudaComputeCapability, int, "cuda_major", "cuda_minor")
PAIR(nvmlDeviceGetGspFirmwareMode, u32, "gsp", "gsp_default")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, u32, "power_limit_min", "power_limit_max")
PAIR(nvmlDeviceGetEccMode, u32, "ecc_mode", "ecc_mode_pending")
PAIR(nvmlDeviceGetEncoderUtilization, u32, "utilization_encoder", "utilization_period")
PAIR(nvmlDeviceGetDecoderUtilization, u32, "utilization_decoder", "utilization_period")
PAIR(nvmlDeviceGetJpgUtilization, u32, "utilization_jpeg", "utilization_period")
PAIR(nvmlDeviceGetOfaUtilization, u32, "utilization_ofa", "utilization_period")

/* (gpu, which, out): the keys in NVML's order; "" is one that no card here offers */
#define PICKED(function, ...) \
    EXPORT ret_t function(gpu_t *gpu, u32 which, u32 *out) { \
        static const char *keys[] = {__VA_ARGS__}; \
        ENTER_GPU return out && which < LENGTH(keys) ? get_u32(&conf, keys[which], out) : INVALID_ARGUMENT; }
PICKED(nvmlDeviceGetClockInfo, "clock_graphics", "clock_sm", "clock_memory", "clock_video")
PICKED(nvmlDeviceGetMaxClockInfo, "clock_graphics_max", "clock_sm_max", "clock_memory_max", "clock_video_max")
PICKED(nvmlDeviceGetApplicationsClock, "clock_graphics_set", "clock_graphics_set", "clock_memory_set", "")
PICKED(nvmlDeviceGetDefaultApplicationsClock, "clock_graphics_default", "clock_graphics_default", "clock_memory_default", "")
PICKED(nvmlDeviceGetTemperature, "temperature")
PICKED(nvmlDeviceGetTemperatureThreshold, "temperature_shutdown", "temperature_slowdown", "temperature_memory_max",
       "temperature_gpu_max", "", "", "", "")
PICKED(nvmlDeviceGetPcieThroughput, "pcie_sent", "pcie_received") /* KB/s */

/* (gpu, text, size) */
#define TEXT(function, key) \
    EXPORT ret_t function(gpu_t *gpu, char *out, u32 size) { ENTER_GPU return text(&conf, key, out, size); }
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetBoardPartNumber, "part_number")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetInforomImageVersion, "inforom_image")

/* (text, size), of the driver */
#define DRIVER_TEXT(function, key) \
    EXPORT ret_t function(char *out, u32 size) { ENTER return text(&conf, key, out, size); }
DRIVER_TEXT(nvmlSystemGetDriverVersion, "driver_version")
DRIVER_TEXT(nvmlSystemGetNVMLVersion, "nvml_version")

/* nvmlDeviceGetFieldValues: number, type of the answer (0 double, 1 unsigned, 3 unsigned long long, 5 signed), key.
 * A key of a link has %u for its number. Numbers and types: a real H100 with driver 580, where it has the field. */
typedef struct { u32 id, type; const char *key; } known_t;
static const known_t FIELDS[] = {
    {1, 3, "ecc_mode"}, {2, 3, "ecc_mode_pending"},
    {3, 3, "ecc_corrected"}, {4, 3, "ecc_uncorrected"}, {5, 3, "ecc_corrected_total"}, {6, 3, "ecc_uncorrected_total"},
    {29, 3, "retired_sbe"}, {30, 3, "retired_dbe"}, {31, 3, "retired_pending"},
    {74, 3, "violation.power"}, {75, 3, "violation.thermal"}, {76, 3, "violation.sync_boost"},
    {77, 3, "violation.board_limit"}, {78, 3, "violation.low_utilization"}, {79, 3, "violation.reliability"},
    {80, 3, "violation.app_clocks"}, {81, 3, "violation.base_clocks"},
    {82, 1, "temperature_memory"}, {83, 3, "energy"}, {91, 1, "nvlinks"},
    {94, 1, "pcie_replays"}, {95, 1, "pcie_replay_rollovers"},
    {142, 3, "remap_corrected"}, {143, 3, "remap_uncorrected"}, {144, 3, "remap_pending"}, {145, 3, "remap_failed"},
    {147, 0, "nvlinks"},
    {161, 3, "nvlink.%u.replay"}, {162, 3, "nvlink.%u.recovery"}, {163, 3, "nvlink.%u.crc_flit"},
    {164, 1, "nvlink_speed"}, {165, 1, "nvlink.%u"}, {166, 1, "nvlink_version"},
    {169, 1, "pcie_recoveries"}, {173, 1, "pcie_errors.correctable"}, {174, 1, "pcie_errors.naks_received"},
    {175, 1, "pcie_errors.receiver"}, {176, 1, "pcie_errors.bad_tlp"}, {177, 1, "pcie_errors.naks_sent"},
    {178, 1, "pcie_errors.bad_dllp"}, {179, 1, "pcie_errors.non_fatal"}, {180, 1, "pcie_errors.fatal"},
    {181, 1, "pcie_errors.unsupported"}, {182, 1, "pcie_errors.lcrc"}, {183, 1, "pcie_errors.lane"},
    {184, 1, "mig_resetless"}, {185, 1, "power"}, {186, 1, "power"}, {187, 1, "power_limit_min"},
    {188, 1, "power_limit_max"}, {189, 1, "power_limit_default"}, {190, 1, "power_limit"}, {191, 3, "energy"},
    {192, 1, "power_limit"}, {193, 5, "tlimit_shutdown"}, {194, 5, "tlimit_slowdown"}, {195, 5, "tlimit_memory_max"},
    {196, 5, "tlimit_gpu_max"}, {197, 1, "pcie_bytes_sent"}, {198, 1, "pcie_bytes_received"}, {199, 1, "mig_query"},
    {226, 1, "reset_status"}, {227, 1, "drain_status"}, {228, 1, "pcie_atomics_out"}, {229, 1, "pcie_atomics_in"},
    {230, 1, "recovery_action"}, {269, 3, "violation.sw_thermal"}, {270, 3, "violation.hw_thermal"},
    {271, 3, "violation.power_brake"}, {301, 3, "remap_corrected_inactive"}, {302, 3, "remap_uncorrected_inactive"},
};
enum { NEWEST_KNOWN_FIELD = 273 }; /* what is above and not in the table, driver 580 has never heard of */
