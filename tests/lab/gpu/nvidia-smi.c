/* A FAKE nvidia-smi for tests on machines without a GPU, and the outermost thing that is faked: engine,
 * CDI, container and agent are real. The fake CDI spec mounts it and sets one GPUBAY_FAKE_GPU_<index> =
 * "<uuid>,<name>" for each device that was injected; like the real one it numbers from 0 what it sees. Where there is no
 * such variable, each device node /dev/nvidia<minor> that it can open is a GPU, whose UUID ends in that number.
 *
 * Answers `nvidia-smi -L`, `nvidia-smi --query-gpu=<fields> --format=csv,noheader[,nounits]`, and of `nvidia-smi -q -x` what our
 * program reads of it. GPUBAY_FAKE_SLICE_<n> = "<uuid>,<profile>,<uuid of its GPU>,<place in it>" is a slice that was injected: a GPU
 * is there by each of its slices, too. Lines of a file /usr/bin/.gpubay-fake-gpus, which the HOOK in gpu.py writes, are such
 * variables, too.
 * Static, since images may have neither a shell nor a C library.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 16 };

static const char *gpus[MOST], *slices[MOST];
static int count;

/* The part of `text` after so many commas. */
static const char *part(const char *text, int at, int *length) {
    while (at-- > 0) {
        const char *comma = strchr(text, ',');
        text = comma ? comma + 1 : text + strlen(text);
    }
    *length = (int)strcspn(text, ",");
    return text;
}

/* Whether a slice is of a GPU. */
static int is_of(const char *slice, int gpu) {
    int length, uuid;
    const char *of = part(slice, 2, &length);
    const char *whole = part(gpus[gpu], 0, &uuid);
    return length == uuid && strncmp(of, whole, (size_t)uuid) == 0;
}

static void print_slices(int gpu, int xml) {
    for (int i = 0; i < MOST; i++) {
        int uuid_length, profile_length, at_length;
        if (!slices[i] || !is_of(slices[i], gpu)) continue;
        const char *uuid = part(slices[i], 0, &uuid_length), *profile = part(slices[i], 1, &profile_length);
        const char *at = part(slices[i], 3, &at_length);
        if (!xml) {
            printf("  MIG %.*s     Device  %.*s: (UUID: %.*s)\n", profile_length, profile, at_length, at, uuid_length, uuid);
            continue;
        }
        printf("\t\t\t<mig_device>\n\t\t\t\t<index>%.*s</index>\n\t\t\t\t<gpu_instance_id>%d</gpu_instance_id>\n", at_length, at, i + 7);
        puts("\t\t\t\t<compute_instance_id>0</compute_instance_id>");
        puts("\t\t\t\t<fb_memory_usage>\n\t\t\t\t\t<total>9856 MiB</total>\n\t\t\t\t\t<used>12 MiB</used>\n\t\t\t\t</fb_memory_usage>\n\t\t\t</mig_device>");
    }
}

static int divided(int gpu) {
    for (int i = 0; i < MOST; i++)
        if (slices[i] && is_of(slices[i], gpu)) return 1;
    return 0;
}

static void print_all(void) {
    puts("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">\n<nvidia_smi_log>");
    printf("\t<driver_version>580.65.06</driver_version>\n\t<cuda_version>13.0</cuda_version>\n\t<attached_gpus>%d</attached_gpus>\n", count);
    for (int gpu = 0; gpu < count; gpu++) {
        int uuid_length, name_length, mig = divided(gpu);
        const char *uuid = part(gpus[gpu], 0, &uuid_length), *name = part(gpus[gpu], 1, &name_length);
        printf("\t<gpu id=\"00000000:%02X:00.0\">\n\t\t<product_name>%.*s</product_name>\n\t\t<product_brand>NVIDIA</product_brand>\n", gpu + 1, name_length, name);
        const char *mode = mig ? "Enabled" : "N/A";
        printf("\t\t<mig_mode>\n\t\t\t<current_mig>%s</current_mig>\n\t\t\t<pending_mig>%s</pending_mig>\n\t\t</mig_mode>\n", mode, mode);
        puts("\t\t<mig_devices>");
        print_slices(gpu, 1);
        printf("\t\t</mig_devices>\n\t\t<uuid>%.*s</uuid>\n\t\t<minor_number>%d</minor_number>\n", uuid_length, uuid, gpu);
        puts("\t\t<fb_memory_usage>\n\t\t\t<total>24576 MiB</total>\n\t\t\t<used>640 MiB</used>\n\t\t</fb_memory_usage>");
        puts("\t\t<utilization>\n\t\t\t<gpu_util>11 %</gpu_util>\n\t\t</utilization>");
        puts("\t\t<temperature>\n\t\t\t<gpu_temp>41 C</gpu_temp>\n\t\t</temperature>");
        puts("\t\t<gpu_power_readings>\n\t\t\t<average_power_draw>33.00 W</average_power_draw>\n\t\t\t<current_power_limit>300.00 W</current_power_limit>\n\t\t</gpu_power_readings>\n\t</gpu>");
    }
    puts("</nvidia_smi_log>");
}

static void print_field(const char *field, size_t length, int index, int units) {
    const char *comma = strchr(gpus[index], ',');
    int uuid = (int)(comma ? comma - gpus[index] : (long)strlen(gpus[index]));
    const char *mib = units ? " MiB" : "";
#define IS(name) (length == strlen(name) && strncmp(field, name, length) == 0)
    if (IS("index")) printf("%d", index);
    else if (IS("uuid") || IS("gpu_uuid")) printf("%.*s", uuid, gpus[index]);
    else if (IS("name") || IS("gpu_name")) printf("%s", comma ? comma + 1 : "");
    else if (IS("memory.total")) printf("%d%s", 24576, mib);
    else if (IS("memory.free")) printf("%d%s", 24000, mib);
    else if (IS("memory.used")) printf("%d%s", 576, mib);
    else if (IS("utilization.gpu")) printf("%d%s", 0, units ? " %" : "");
    else if (IS("driver_version")) printf("0.0-fake");
    else {
        printf("Field \"%.*s\" is not a valid field to query.\n", (int)length, field);
        exit(2);
    }
#undef IS
}

static void variables_of_the_hook(void) {
    static char lines[64][160];
    FILE *file = fopen("/usr/bin/.gpubay-fake-gpus", "r");
    if (!file) return;
    for (int i = 0; i < 64 && fgets(lines[i], sizeof *lines, file); i++) {
        lines[i][strcspn(lines[i], "\n")] = 0;
        putenv(lines[i]);
    }
    fclose(file);
}

int main(int argc, char **argv) {
    variables_of_the_hook();
    const char *fields = NULL, *format = "";
    int list = 0, query = 0, xml = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-L") == 0 || strcmp(argv[i], "--list-gpus") == 0) list = 1;
        else if (strcmp(argv[i], "-q") == 0) query = 1;
        else if (strcmp(argv[i], "-x") == 0) xml = 1;
        else if (strncmp(argv[i], "--query-gpu=", 12) == 0) fields = argv[i] + 12;
        else if (strncmp(argv[i], "--format=", 9) == 0) format = argv[i] + 9;
        else {
            printf("Invalid combination of input arguments: the fake nvidia-smi does not know %s\n", argv[i]);
            return 2;
        }
    }
    for (int i = 0; i < MOST; i++) {
        char name[32];
        snprintf(name, sizeof name, "GPUBAY_FAKE_GPU_%d", i);
        const char *value = getenv(name);
        if (value) gpus[count++] = value;
        snprintf(name, sizeof name, "GPUBAY_FAKE_SLICE_%d", i);
        slices[i] = getenv(name);
    }
    for (int minor = 0, told = count; told == 0 && minor < MOST; minor++) {
        static char lines[MOST][96];
        char node[32];
        snprintf(node, sizeof node, "/dev/nvidia%d", minor);
        int opened = open(node, O_RDWR | O_CLOEXEC);
        if (opened < 0) continue;
        close(opened);
        snprintf(lines[count], sizeof lines[count], "GPU-11111111-2222-3333-4444-%012d,GPU Bay Fake 24G", minor);
        gpus[count] = lines[count];
        count++;
    }
    if (count == 0) {
        puts("No devices were found");
        return 6;
    }
    if (query && xml) {
        print_all();
        return 0;
    }
    if (!list && !fields) {
        puts("the fake nvidia-smi answers -L, --query-gpu and -q -x");
        return 2;
    }
    if (fields && !strstr(format, "noheader")) {
        puts("the fake nvidia-smi answers --query-gpu with --format=csv,noheader only");
        return 2;
    }
    for (int index = 0; index < count; index++) {
        if (list) {
            printf("GPU %d: ", index);
            print_field("name", 4, index, 1);
            printf(" (UUID: ");
            print_field("uuid", 4, index, 1);
            puts(")");
            print_slices(index, 0);
            continue;
        }
        for (const char *field = fields; *field;) {
            size_t length = strcspn(field, ",");
            print_field(field, length, index, !strstr(format, "nounits"));
            field += length;
            if (*field == ',') {
                field++;
                printf(", ");
            }
        }
        putchar('\n');
    }
    return 0;
}
