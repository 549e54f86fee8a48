/* A FAKE nvidia-smi for tests on machines without a GPU, and the outermost thing that is faked: engine,
 * CDI, container and agent are real. The fake CDI spec mounts it and sets one GPUBAY_FAKE_GPU_<index> =
 * "<uuid>,<name>" for each device that was injected; like the real one it numbers from 0 what it sees. Where there is no
 * such variable, each device node /dev/nvidia<minor> that it can open is a GPU, whose UUID ends in that number.
 *
 * Answers `nvidia-smi -L` and `nvidia-smi --query-gpu=<fields> --format=csv,noheader[,nounits]`.
 * Static, since images may have neither a shell nor a C library.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 16 };

static const char *gpus[MOST];
static int count;

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

int main(int argc, char **argv) {
    const char *fields = NULL, *format = "";
    int list = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-L") == 0 || strcmp(argv[i], "--list-gpus") == 0) list = 1;
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
    if (!list && !fields) {
        puts("the fake nvidia-smi answers -L and --query-gpu");
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
