/* A FAKE libnvidia-ml.so.1 for tests on machines without a GPU, and the outermost thing that is faked: whoever loads it
 * through LD_LIBRARY_PATH believes that a driver is there. No program of ours knows of it.
 *
 * What it tells stands in the file that GPUBAY_FAKE_NVML names, by default `scenario` beside the library. It is read
 * again whenever it has changed, so that load comes and goes while a program watches; write a new one aside and rename it.
 *
 *     driver = 580.65.06          what is before the first [gpu] is the machine's
 *     cuda = 13000
 *     init = DRIVER_NOT_LOADED    what nvmlInit answers: any NVML_ERROR_ by its name
 *     every = UNINITIALIZED       what every other question answers
 *     [gpu]
 *     uuid = GPU-…
 *     minor = 1                   of its device node; by default its place
 *     name = NVIDIA H100
 *     brand = geforce             tesla, geforce, nvidia or nvidiartx; without it nothing is known of one
 *     memory = 576 / 24576        MiB, used and total
 *     utilization = 37            percent
 *     temperature = 54            degrees Celsius
 *     power = 71 / 300            watts, drawn and allowed
 *     mig = on                    off, on, or `on, off` for what is and what is to come; without it there is no MIG
 *     process = 1234 512          pid and MiB of a compute process; any number of them
 *     graphics = 1235 20          of one that draws
 *     error = GPU_IS_LOST         what every question about it answers
 *     error memory = NOT_SUPPORTED   or one of: handle uuid name memory utilization temperature power limit mig processes minor
 *     [slice]                     of the GPU before it; uuid, name, memory, process and error as above
 *     index = 2                   by default the next one
 *     slices = 1 / 1              of the compute instance and of the GPU instance, for its profile
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, UNKNOWN = 999 };

static const struct { const char *name, *text; int code; } errors[] = {
    {"SUCCESS", "Success", SUCCESS},
    {"UNINITIALIZED", "Uninitialized", UNINITIALIZED},
    {"INVALID_ARGUMENT", "Invalid Argument", INVALID_ARGUMENT},
    {"NOT_SUPPORTED", "Not Supported", NOT_SUPPORTED},
    {"NO_PERMISSION", "Insufficient Permissions", 4},
    {"NOT_FOUND", "Not Found", NOT_FOUND},
    {"INSUFFICIENT_SIZE", "Insufficient Size", INSUFFICIENT_SIZE},
    {"INSUFFICIENT_POWER", "Insufficient External Power", 8},
    {"DRIVER_NOT_LOADED", "Driver Not Loaded", 9},
    {"TIMEOUT", "Timeout", 10},
    {"IRQ_ISSUE", "Interrupt Request Issue", 11},
    {"LIBRARY_NOT_FOUND", "NVML Shared Library Not Found", 12},
    {"FUNCTION_NOT_FOUND", "Function Not Found", 13},
    {"CORRUPTED_INFOROM", "Corrupted infoROM", 14},
    {"GPU_IS_LOST", "GPU is lost", 15},
    {"RESET_REQUIRED", "GPU requires reset", 16},
    {"OPERATING_SYSTEM", "GPU access blocked by the operating system", 17},
    {"LIB_RM_VERSION_MISMATCH", "Driver/library version mismatch", 18},
    {"IN_USE", "In use by another client", 19},
    {"MEMORY", "Insufficient Memory", 20},
    {"NO_DATA", "No data", 21},
    {"UNKNOWN", "Unknown Error", UNKNOWN},
};

enum { MOST_GPUS = 16, MOST_SLICES = 16, MOST_PROCESSES = 64, TEXT = 96 };
/* What can fail by itself; ALL is all of it. */
enum { ALL, HANDLE, UUID, NAME, MEMORY, UTILIZATION, TEMPERATURE, POWER, LIMIT, MIG, PROCESSES, MINOR, QUESTIONS };
static const char *const questions[QUESTIONS] = {"", "handle", "uuid", "name", "memory", "utilization", "temperature", "power", "limit", "mig", "processes", "minor"};

struct process { unsigned pid; unsigned long long bytes; int draws; };
struct device {
    char uuid[TEXT], name[TEXT], brand[TEXT];
    unsigned long long used, total;
    unsigned utilization, temperature, power, limit, index, minor, compute_slices, gpu_slices;
    int mig, mig_pending, failing[QUESTIONS], processes_count;
    struct process processes[MOST_PROCESSES];
};
struct gpu { struct device device; int slices_count; struct device slices[MOST_SLICES]; };

static struct {
    char driver[TEXT];
    int cuda, init, every, count;
    struct gpu gpus[MOST_GPUS];
} machine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialized;
static struct stat read_from;

static int complain(const char *path, int number, const char *what) {
    fprintf(stderr, "fake NVML: %s:%d: %s\n", path, number, what);
    memset(&read_from, 0, sizeof read_from);
    return UNKNOWN;
}

static int code_of(const char *name) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(errors[i].name, name) == 0) return errors[i].code;
    return -1;
}

static const char *path(void) {
    static char beside[4096];
    const char *named = getenv("GPUBAY_FAKE_NVML");
    if (named && *named) return named;
    Dl_info self;
    if (!dladdr((void *)path, &self) || !self.dli_fname) return "scenario";
    const char *end = strrchr(self.dli_fname, '/');
    snprintf(beside, sizeof beside, "%.*sscenario", end ? (int)(end + 1 - self.dli_fname) : 0, self.dli_fname);
    return beside;
}

static char *trimmed(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

/* One `key = value`; null or what is wrong. */
static const char *set(struct device *device, const char *key, char *value) {
    unsigned a = 0, b = 0;
    unsigned long long bytes;
    if (!device) {
        if (strcmp(key, "driver") == 0) snprintf(machine.driver, TEXT, "%.*s", TEXT - 1, value);
        else if (strcmp(key, "cuda") == 0) machine.cuda = atoi(value);
        else if (strcmp(key, "init") == 0) machine.init = code_of(value);
        else if (strcmp(key, "every") == 0) machine.every = code_of(value);
        else return "the machine has no such key";
        return machine.init < 0 || machine.every < 0 ? "no NVML_ERROR_ is called so" : NULL;
    }
    if (strcmp(key, "uuid") == 0) snprintf(device->uuid, TEXT, "%.*s", TEXT - 1, value);
    else if (strcmp(key, "minor") == 0) device->minor = (unsigned)atoi(value);
    else if (strcmp(key, "name") == 0) snprintf(device->name, TEXT, "%.*s", TEXT - 1, value);
    else if (strcmp(key, "brand") == 0) snprintf(device->brand, TEXT, "%.*s", TEXT - 1, value);
    else if (strcmp(key, "memory") == 0 && sscanf(value, "%u / %u", &a, &b) == 2) {
        device->used = (unsigned long long)a << 20;
        device->total = (unsigned long long)b << 20;
    } else if (strcmp(key, "utilization") == 0) device->utilization = (unsigned)atoi(value);
    else if (strcmp(key, "temperature") == 0) device->temperature = (unsigned)atoi(value);
    else if (strcmp(key, "power") == 0 && sscanf(value, "%u / %u", &a, &b) == 2) {
        device->power = a * 1000;
        device->limit = b * 1000;
    } else if (strcmp(key, "mig") == 0) {
        device->mig = strncmp(value, "on", 2) == 0;
        const char *comma = strchr(value, ',');
        device->mig_pending = comma ? strstr(comma, "on") != NULL : device->mig;
    } else if (strcmp(key, "index") == 0) device->index = (unsigned)atoi(value);
    else if (strcmp(key, "slices") == 0 && sscanf(value, "%u / %u", &a, &b) == 2) {
        device->compute_slices = a;
        device->gpu_slices = b;
    } else if ((strcmp(key, "process") == 0 || strcmp(key, "graphics") == 0) && sscanf(value, "%u %llu", &a, &bytes) == 2) {
        if (device->processes_count == MOST_PROCESSES) return "too many processes";
        device->processes[device->processes_count++] = (struct process){a, bytes << 20, *key == 'g'};
    } else if (strncmp(key, "error", 5) == 0) {
        const char *about = key + 5 + strspn(key + 5, " ");
        int question = 0;
        while (question < QUESTIONS && strcmp(questions[question], about) != 0) question++;
        if (question == QUESTIONS) return "nothing is asked that is called so";
        if ((device->failing[question] = code_of(value)) < 0) return "no NVML_ERROR_ is called so";
    } else return "no such key, or not its form";
    return NULL;
}

static int parse(FILE *file, const char *from) {
    char line[512];
    struct device *device = NULL;
    struct gpu *gpu = NULL;
    memset(&machine, 0, sizeof machine);
    for (int number = 1; fgets(line, sizeof line, file); number++) {
        char *text = trimmed(line);
        if (*text == 0 || *text == '#') continue;
        if (strcmp(text, "[gpu]") == 0) {
            if (machine.count == MOST_GPUS) return complain(from, number, "too many GPUs");
            gpu = &machine.gpus[machine.count];
            device = &gpu->device;
            device->index = device->minor = (unsigned)machine.count++;
            device->mig = -1;
        } else if (strcmp(text, "[slice]") == 0) {
            if (!gpu || gpu->slices_count == MOST_SLICES) return complain(from, number, "too many slices, or no GPU for it");
            device = &gpu->slices[gpu->slices_count];
            device->index = (unsigned)gpu->slices_count++;
            device->mig = -1;
        } else {
            char *equals = strchr(text, '=');
            if (!equals) return complain(from, number, "neither a section nor key = value");
            *equals = 0;
            const char *wrong = set(device, trimmed(text), trimmed(equals + 1));
            if (wrong) return complain(from, number, wrong);
        }
    }
    return SUCCESS;
}

/* The scenario as it is now. Each call holds the lock. */
static int load(void) {
    const char *from = path();
    struct stat now;
    if (stat(from, &now) != 0) return complain(from, 0, "it cannot be read");
    if (now.st_ino == read_from.st_ino && now.st_size == read_from.st_size && now.st_mtim.tv_sec == read_from.st_mtim.tv_sec && now.st_mtim.tv_nsec == read_from.st_mtim.tv_nsec)
        return SUCCESS;
    read_from = now;
    FILE *file = fopen(from, "r");
    if (!file) return complain(from, 0, "it cannot be opened");
    int answer = parse(file, from);
    fclose(file);
    return answer;
}

/* A handle is a place: 1 + the GPU's, and 1 + the slice's above it. */
typedef uintptr_t Handle;

static struct device *find(Handle handle) {
    size_t gpu = (handle & 0xff) - 1, slice = (handle >> 8) - 1;
    if ((handle & 0xff) == 0 || gpu >= (size_t)machine.count) return NULL;
    if (handle >> 8 == 0) return &machine.gpus[gpu].device;
    return slice < (size_t)machine.gpus[gpu].slices_count ? &machine.gpus[gpu].slices[slice] : NULL;
}

static int enter(void) {
    pthread_mutex_lock(&lock);
    int loaded = load();
    if (loaded != SUCCESS) return loaded;
    return initialized ? machine.every : UNINITIALIZED;
}

static int leave(int answer) {
    pthread_mutex_unlock(&lock);
    return answer;
}

/* Begins a question about a device, which `device` then is. */
#define ASK(handle, question)                                                       \
    int answer = enter();                                                           \
    struct device *device = answer == SUCCESS ? find(handle) : NULL;                \
    if (answer != SUCCESS) return leave(answer);                                    \
    if (!device) return leave(INVALID_ARGUMENT);                                    \
    if (device->failing[ALL]) return leave(device->failing[ALL]);                   \
    if (device->failing[question]) return leave(device->failing[question])

static int text(const char *from, char *to, unsigned size) {
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

static int init(void) {
    pthread_mutex_lock(&lock);
    int answer = load();
    if (answer == SUCCESS) answer = machine.init;
    if (answer == SUCCESS) initialized++;
    return leave(answer);
}

int nvmlInit_v2(void) { return init(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return init(); }

int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    if (!initialized) return leave(UNINITIALIZED);
    initialized--;
    return leave(SUCCESS);
}

const char *nvmlErrorString(int code) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) return errors[i].text;
    return "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    int answer = enter();
    return leave(answer == SUCCESS ? text(machine.driver, version, size) : answer);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    int answer = enter();
    *version = machine.cuda;
    return leave(answer == SUCCESS && machine.cuda == 0 ? 12 : answer);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int answer = enter();
    *count = (unsigned)machine.count;
    return leave(answer);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle) {
    *handle = index + 1;
    ASK(index + 1, HANDLE);
    return leave(SUCCESS);
}

int nvmlDeviceGetIndex(Handle handle, unsigned *index) {
    ASK(handle, HANDLE);
    *index = device->index;
    return leave(SUCCESS);
}

int nvmlDeviceGetMinorNumber(Handle handle, unsigned *minor) {
    ASK(handle, MINOR);
    *minor = device->minor;
    return leave(handle >> 8 ? INVALID_ARGUMENT : SUCCESS);
}

int nvmlDeviceGetUUID(Handle handle, char *uuid, unsigned size) {
    ASK(handle, UUID);
    return leave(text(device->uuid, uuid, size));
}

int nvmlDeviceGetName(Handle handle, char *name, unsigned size) {
    ASK(handle, NAME);
    return leave(text(device->name, name, size));
}

int nvmlDeviceGetBrand(Handle handle, unsigned *brand) {
    static const struct { const char *name; unsigned number; } brands[] = {{"tesla", 2}, {"geforce", 5}, {"nvidiartx", 13}, {"nvidia", 14}};
    ASK(handle, NAME);
    *brand = 0;
    if (!*device->brand) return leave(NOT_SUPPORTED);
    for (size_t i = 0; i < sizeof brands / sizeof *brands; i++)
        if (strcmp(brands[i].name, device->brand) == 0) *brand = brands[i].number;
    return leave(SUCCESS);
}

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo(Handle handle, struct memory *memory) {
    ASK(handle, MEMORY);
    *memory = (struct memory){device->total, device->total - device->used, device->used};
    return leave(SUCCESS);
}

int nvmlDeviceGetMemoryInfo_v2(Handle handle, struct memory_v2 *memory) {
    ASK(handle, MEMORY);
    if (memory->version != (sizeof *memory | 2u << 24)) return leave(25);
    *memory = (struct memory_v2){memory->version, device->total, 0, device->total - device->used, device->used};
    return leave(SUCCESS);
}

struct utilization { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(Handle handle, struct utilization *rates) {
    ASK(handle, UTILIZATION);
    /* As the real one does while a GPU is divided. */
    if (handle >> 8 != 0 || device->mig == 1) return leave(NOT_SUPPORTED);
    *rates = (struct utilization){device->utilization, device->utilization / 2};
    return leave(SUCCESS);
}

int nvmlDeviceGetTemperature(Handle handle, int sensor, unsigned *degrees) {
    ASK(handle, TEMPERATURE);
    *degrees = device->temperature;
    return leave(sensor == 0 && handle >> 8 == 0 ? SUCCESS : INVALID_ARGUMENT);
}

int nvmlDeviceGetPowerUsage(Handle handle, unsigned *milliwatts) {
    ASK(handle, POWER);
    *milliwatts = device->power;
    return leave(device->power ? SUCCESS : NOT_SUPPORTED);
}

int nvmlDeviceGetEnforcedPowerLimit(Handle handle, unsigned *milliwatts) {
    ASK(handle, LIMIT);
    *milliwatts = device->limit;
    return leave(device->limit ? SUCCESS : NOT_SUPPORTED);
}

int nvmlDeviceGetMigMode(Handle handle, unsigned *current, unsigned *pending) {
    ASK(handle, MIG);
    if (device->mig < 0) return leave(NOT_SUPPORTED);
    *current = (unsigned)device->mig;
    *pending = (unsigned)device->mig_pending;
    return leave(SUCCESS);
}

int nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned *count) {
    ASK(handle, MIG);
    *count = device->mig < 0 ? 0 : MOST_SLICES;
    return leave(SUCCESS);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Handle handle, unsigned index, Handle *slice) {
    ASK(handle, MIG);
    if (device->mig != 1) return leave(NOT_SUPPORTED);
    struct gpu *gpu = &machine.gpus[handle - 1];
    for (int i = 0; i < gpu->slices_count; i++) {
        if (gpu->slices[i].index != index) continue;
        *slice = handle | (Handle)(i + 1) << 8;
        return leave(gpu->slices[i].failing[HANDLE]);
    }
    return leave(NOT_FOUND);
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle handle, Handle *gpu) {
    ASK(handle, HANDLE);
    *gpu = handle & 0xff;
    return leave(handle >> 8 ? SUCCESS : INVALID_ARGUMENT);
}

int nvmlDeviceIsMigDeviceHandle(Handle handle, unsigned *is) {
    ASK(handle, HANDLE);
    *is = handle >> 8 != 0;
    return leave(SUCCESS);
}

struct attributes { unsigned multiprocessors, copies, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory; };

int nvmlDeviceGetAttributes_v2(Handle handle, struct attributes *attributes) {
    ASK(handle, HANDLE);
    if (handle >> 8 == 0) return leave(NOT_SUPPORTED);
    *attributes = (struct attributes){0, 0, 0, 0, 0, 0, device->gpu_slices, device->compute_slices, device->total >> 20};
    return leave(SUCCESS);
}

struct process_info { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

static int processes(Handle handle, int draws, unsigned *count, struct process_info *infos) {
    ASK(handle, PROCESSES);
    unsigned room = *count, found = 0;
    for (int i = 0; i < device->processes_count; i++) {
        if (device->processes[i].draws != draws) continue;
        if (found < room && infos) infos[found] = (struct process_info){device->processes[i].pid, device->processes[i].bytes, ~0u, ~0u};
        found++;
    }
    *count = found;
    return leave(found > room ? INSUFFICIENT_SIZE : SUCCESS);
}

int nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned *count, struct process_info *infos) { return processes(handle, 0, count, infos); }
int nvmlDeviceGetComputeRunningProcesses_v2(Handle handle, unsigned *count, struct process_info *infos) { return processes(handle, 0, count, infos); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle handle, unsigned *count, struct process_info *infos) { return processes(handle, 1, count, infos); }
int nvmlDeviceGetGraphicsRunningProcesses_v2(Handle handle, unsigned *count, struct process_info *infos) { return processes(handle, 1, count, infos); }
