/* Machines as text and JSON. */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "json.h"
#include "ui.h"

#define SECONDS_MAX (366u * 24 * 3600)

static void show_progress(int64_t elapsed_ms, int64_t timeout_ms, void *context)
{
    (void)context;
    ui_waiting("booting", elapsed_ms, timeout_ms);
}

static void show_note(const char *text, void *context)
{
    (void)context;
    ui_message("%s", text);
}

struct chr_vm_watch vm_watch(void)
{
    return (struct chr_vm_watch){
        .cancel_fd = interrupt_begin(), .progress = show_progress, .note = show_note};
}

int vm_error(const struct chr_error *err)
{
    int status = report_error(err);

    return interrupt_signal() != 0 ? 128 + interrupt_signal() : status;
}

const char *vm_address(const struct chr_vm *vm)
{
    return strcmp(vm->address, "0.0.0.0") == 0 ? "127.0.0.1" : vm->address;
}

const char *vm_scheme(const struct chr_endpoint *endpoint)
{
    const char *name = endpoint->name;

    if (endpoint->udp)
        return NULL;
    if (strcmp(name, "http") == 0 || strcmp(name, "https") == 0)
        return name;
    return endpoint->guest_port == 80 ? "http" : endpoint->guest_port == 443 ? "https" : NULL;
}

/* A router has a user admin, and its ssh is at port 22 until somebody moves it. */
static void endpoint_text(const struct chr_vm *vm, const struct chr_endpoint *endpoint,
                          char text[128])
{
    const char *scheme = vm_scheme(endpoint);

    if (scheme != NULL)
        (void)snprintf(text, 128, "%s://%.60s:%u", scheme, vm_address(vm), endpoint->port);
    else if (endpoint->guest_port == 22 && !endpoint->udp)
        (void)snprintf(text, 128, "ssh -p %u admin@%.60s", endpoint->port, vm_address(vm));
    else
        (void)snprintf(text, 128, "%.60s:%u%s", vm_address(vm), endpoint->port,
                       endpoint->udp ? " (UDP)" : "");
}

void vm_print_endpoints(const struct chr_vm *vm)
{
    for (size_t i = 0; i < vm->endpoint_count; i++) {
        const struct chr_endpoint *endpoint = &vm->endpoints[i];
        char text[128];
        char name[CHR_FORWARD_NAME_SIZE];

        endpoint_text(vm, endpoint, text);
        (void)snprintf(name, sizeof name, "%s", endpoint->name);
        if (name[0] == '\0')
            (void)snprintf(name, sizeof name, "%u", endpoint->guest_port);
        ui_out("  %-9s %s\n", name, text);
    }
}

static json_t *endpoints_value(const struct chr_vm *vm)
{
    json_t *array = json_array();

    for (size_t i = 0; i < vm->endpoint_count; i++) {
        const struct chr_endpoint *endpoint = &vm->endpoints[i];

        (void)json_array_append_new(
            array, json_pack("{s:s, s:s, s:i, s:i}", "name", endpoint->name, "protocol",
                             endpoint->udp ? "udp" : "tcp", "port", endpoint->port, "guest_port",
                             endpoint->guest_port));
    }
    return array;
}

json_t *vm_value(const struct chr_vm *vm)
{
    return json_pack("{s:s, s:b, s:s, s:o, s:o, s:o, s:b, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "name",
                     vm->name, "running", vm->running, "status", vm->status, "pid",
                     vm->running ? json_integer(vm->pid) : json_null(), "started",
                     json_time(vm->started), "image", json_text(vm->image), "image_replaced",
                     vm->image_replaced, "arch", vm->arch, "accel", vm->accel, "firmware", vm->firmware, "address", vm->address,
                     "endpoints", endpoints_value(vm), "serial_log", json_text(vm->serial_log),
                     "qemu_log", json_text(vm->qemu_log));
}

static int print_json(const struct chr_boot_report *report)
{
    json_t *value = vm_value(report->vm);

    if (value != NULL) {
        (void)json_object_set_new(value, "schema", json_integer(1));
        (void)json_object_set_new(value, "fell_back", json_boolean(report->fell_back));
        (void)json_object_set_new(value, "start_ms", json_integer(report->start_ms));
        (void)json_object_set_new(value, "ready_ms", json_integer(report->ready_ms));
        (void)json_object_set_new(value, "waited_ms",
                                  report->waited ? json_integer(report->total_ms) : json_null());
    }
    return json_print(value);
}

int vm_print_started(const struct chr_boot_report *report, bool json)
{
    const struct chr_vm *vm = report->vm;

    ui_waiting_end();
    if (json)
        return print_json(report);
    ui_out("%s is %s after %.1f s: %s, %s, %s\n", vm->name, report->waited ? "up" : "started",
           (double)report->total_ms / 1000, vm->arch, vm->firmware, vm->accel);
    vm_print_endpoints(vm);
    return EXIT_DONE;
}

void vm_say_saved(const char *path)
{
    if (path != NULL)
        ui_message("it ran from a file whose name was gone; that is saved as %s", path);
}

bool vm_name_argument(const struct command *command, int argc, char **argv, const char **name,
                      int *status)
{
    *name = optind < argc ? argv[optind] : NULL;
    if (optind + 1 >= argc)
        return true;
    *status = usage_error(command, "one instance at a time; what is %s?", argv[optind + 1]);
    return false;
}

int take_seconds(const struct command *command, const char *option, const char *value,
                 unsigned *seconds)
{
    char *end = NULL;
    unsigned long number = strtoul(value, &end, 10);

    if (value[0] < '0' || value[0] > '9' || *end != '\0' || number == 0 || number > SECONDS_MAX)
        return usage_error(command, "%s takes seconds, from 1 on, not %s", option, value);
    *seconds = (unsigned)number;
    return 0;
}
