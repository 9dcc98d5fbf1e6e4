/*
 * From facts about the host, facts about the image and the user's options to
 * an argument vector for QEMU.
 *
 * vm_plan_make() is pure: no I/O, no clock, no random numbers.  The facts come
 * from vm_host_probe() (vm/host.h) and from an inspection of the image, or are
 * made by hand in tests.
 */
#ifndef CHRIMG_VM_PLAN_H
#define CHRIMG_VM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define VM_SOCKET_PATH_MAX 103 /* sun_path has 104 bytes on macOS, 108 on Linux */
#define VM_PATH_SIZE 1024 /* paths longer than this are refused by name */
#define VM_ARCH_SIZE 16
#define VM_REASON_SIZE 256

/* The oldest QEMU that takes every argument made here; Debian 11's. */
#define VM_QEMU_MAJOR 5
#define VM_QEMU_MINOR 2

/* ---- facts about the host ---- */

enum vm_os { VM_LINUX, VM_MACOS, VM_OTHER_OS };

/* A QEMU for one guest architecture. */
struct vm_binary {
    char arch[VM_ARCH_SIZE]; /* "x86_64", "aarch64" */
    char path[VM_PATH_SIZE];
    unsigned major; /* 0 when the version cannot be told */
    unsigned minor;
    bool seccomp; /* built with -sandbox */
    int start_error; /* errno of its start, when it could not even be asked; else 0 */
};

/* Firmware that could be used, as a descriptor or a known path has it; vm/firmware.h. */
enum vm_firmware_mode {
    VM_FIRMWARE_SPLIT,     /* code in one pflash, variables in another */
    VM_FIRMWARE_COMBINED,  /* both in one pflash, which is copied as a whole */
    VM_FIRMWARE_STATELESS, /* one pflash, no variables */
    VM_FIRMWARE_MEMORY,    /* -bios */
};

#define VM_MACHINES_MAX 16

struct vm_firmware {
    char arch[VM_ARCH_SIZE];
    char machines[VM_MACHINES_MAX][64]; /* globs: "pc-q35-*"; none: any */
    size_t machine_count;
    enum vm_firmware_mode mode;
    char code[VM_PATH_SIZE];
    bool code_is_qcow2;
    uint64_t code_size; /* virtual bytes */
    char vars[VM_PATH_SIZE]; /* template of the variables, "" for none */
    bool vars_is_qcow2;
    uint64_t vars_size;
    bool secure_boot;
    bool enrolled_keys;
    bool requires_smm;
    bool given;        /* by the user: no other is taken */
    char source[VM_PATH_SIZE]; /* the descriptor, or "" for a known path */
};

/* What stands between a PCI device and its use by an unprivileged QEMU. */
struct vm_vfio {
    char address[16]; /* "0000:01:00.0" */
    bool exists;
    char driver[64]; /* "vfio-pci"; "" for none */
    char vendor[8];  /* "8086", hexadecimal */
    char device[8];
    int group; /* IOMMU group, -1 for none */
    char others[8][16]; /* the group's other members that a driver other than vfio-pci holds */
    size_t other_count;
    bool group_exists; /* /dev/vfio/GROUP */
    bool group_usable; /* may be opened for reading and writing by us */
};

/* A tap or bridge that an option names. */
struct vm_interface {
    char name[CHR_NET_NAME_SIZE];
    bool exists;
    bool is_tap;
    bool is_bridge;
    bool usable; /* a tap that this user may open; a bridge that the helper's ACL allows */
};

#define VM_INTERFACES_MAX CHR_NETS_MAX

#define VM_IDENTITY_SIZE 64

struct vm_host {
    enum vm_os os;
    char arch[VM_ARCH_SIZE];
    char identity[VM_IDENTITY_SIZE]; /* of this host, for MAC addresses: the machine id */
    unsigned uid;
    char user[64]; /* name of UID, "" where unknown */

    bool kvm_usable; /* /dev/kvm opens */
    char kvm_reason[VM_REASON_SIZE]; /* why not, a clause: "/dev/kvm does not exist" */
    char kvm_remedy[VM_REASON_SIZE]; /* what to do about it, or "" */
    bool kvm_runs;   /* seen to run a guest since the host was booted */
    bool kvm_broken; /* seen not to; neither: it could not be tried */
    bool hvf_usable;
    bool lacks_arm32; /* an aarch64 host whose CPUs do not run 32-bit ARM, as arm64 CHR needs */

    struct vm_binary *binaries;
    size_t binary_count;
    struct vm_firmware *firmwares; /* in the order of preference */
    size_t firmware_count;

    /* Host ports that are taken, ascending.  Empty where nothing was asked about. */
    uint16_t *tcp_busy;
    size_t tcp_busy_count;
    uint16_t *udp_busy;
    size_t udp_busy_count;
    uint16_t first_open_port; /* those below want a privilege that we lack; 0: none do */
    bool listen_missing;      /* the address of --listen is none of this host */

    struct vm_vfio vfio[CHR_VFIO_MAX]; /* of the addresses that the options name, in their order */
    size_t vfio_count;
    uint64_t memlock; /* RLIMIT_MEMLOCK in bytes, UINT64_MAX for none */
    struct vm_interface interfaces[VM_INTERFACES_MAX];
    size_t interface_count;
    char bridge_helper[VM_PATH_SIZE]; /* "" for none */
    bool bridge_helper_setuid;
    bool bridge_acl;       /* its ACL (/etc/qemu/bridge.conf) allows something, or may */
    unsigned iommu_groups; /* 0: no IOMMU is in use */
    bool vfio_loaded;      /* /dev/vfio/vfio is there */

    /* Instances: sockets and pid below the first, disks, variables and logs below the second. */
    char runtime_folder[VM_PATH_SIZE]; /* "$XDG_RUNTIME_DIR/chrimg" */
    char state_folder[VM_PATH_SIZE];   /* "$XDG_STATE_HOME/chrimg" */
    char cache_folder[VM_PATH_SIZE];   /* "$XDG_CACHE_HOME/chrimg" */
    char program[VM_PATH_SIZE];        /* chrimg itself, absolute; "chrimg" where unknown */
    char qemu_img[VM_PATH_SIZE];       /* "" for none */
};

/* ---- facts about the image ---- */

struct vm_image {
    const char *path; /* absolute */
    const char *name; /* as the user says it, for messages; NULL: PATH */
    enum chr_format format;
    const char *arch; /* "x86_64", "aarch64", "unknown" */
    struct chr_verdict bios;
    struct chr_verdict uefi;
    uint64_t size; /* virtual bytes */
    bool read_only; /* may not be written by us: its mode, or its file system */
    bool is_snapshot; /* IMG@TAG */
};

static inline const char *vm_image_name(const struct vm_image *image)
{
    return image->name != NULL ? image->name : image->path;
}

/* ---- the plan ---- */

enum vm_make_kind {
    VM_MAKE_OVERLAY, /* a qcow2 with SOURCE as its backing file */
    VM_MAKE_COPY,    /* a qcow2 with SOURCE's bytes, then zeros up to SIZE */
    VM_MAKE_BLANK,   /* a qcow2 that reads as zeros */
    VM_MAKE_CODE,    /* as COPY, of what is only read: made anew when SOURCE is newer */
};

/* Names begin with these: overlays, firmware variables, firmware that holds its variables. */
#define VM_DISK_PREFIX "disk-"
#define VM_VARS_PREFIX "vars-"
#define VM_COMBINED_PREFIX "firmware-"
#define VM_CODE_PREFIX "code-"
/* Behind an overlay's name: the size and the time of the image that it was made over. */
#define VM_BASE_ENDING ".base"

/*
 * A file to be made before QEMU starts, unless it is there already (CODE: and no older
 * than its source).  An OVERLAY
 * whose source is not what it was when the overlay was made must be refused: the
 * two no longer belong together.
 */
struct vm_file {
    enum vm_make_kind kind;
    char *target;
    char *source; /* NULL for BLANK */
    bool source_is_qcow2;
    uint64_t size; /* virtual bytes of the target */
};

struct vm_forward {
    char name[CHR_FORWARD_NAME_SIZE]; /* "http", "ssh", ... or "" */
    bool udp;
    const char *address; /* that it is bound to; of the plan */
    uint16_t host_port;
    uint16_t guest_port;
};

struct vm_property {
    char *key;
    char *value;
};

/*
 * One option of QEMU: "-device virtio-blk-pci,drive=disk0" is "device" with
 * driver = virtio-blk-pci, drive = disk0, and implied_key set.
 */
struct vm_option {
    const char *name;
    struct vm_property *properties;
    size_t count;
    bool implied_key; /* the first property is given without its key */
    bool raw; /* one value that QEMU does not take apart: commas are not doubled */
};

#define VM_NOTES_MAX 16

struct vm_plan {
    char name[CHR_BOOT_NAME_MAX + 1];
    char arch[VM_ARCH_SIZE];
    enum chr_accel accel; /* never AUTO */
    bool fallback;   /* another plan with CHR_ACCEL_TCG may be tried when this one does not get up */
    bool is_uefi;
    struct vm_firmware firmware; /* when is_uefi */
    const char *machine; /* "q35", "pc", "virt" */
    char *image;     /* absolute path */
    bool image_is_qcow2;
    uint64_t memory; /* bytes */
    char *native_cpu; /* the model with KVM or HVF */
    char *tcg_cpu;    /* and emulated */
    struct chr_boot_options asked; /* a copy; strings in it are the caller's still */

    char *binary;
    struct vm_option *options; /* those that depend on the accelerator come last */
    size_t option_count;
    size_t accel_option; /* index of the first of these */
    char **argv; /* argv[0] is binary; ends with NULL */
    size_t argc;
    char **tcg_argv; /* the same with TCG, where there is a fallback; else NULL */

    struct vm_file *files;
    size_t file_count;
    struct vm_forward *forwards;
    size_t forward_count;
    char *listen;
    char macs[CHR_NETS_MAX][18]; /* "02:..."; of ether1, ether2, ... */
    struct chr_net nets[CHR_NETS_MAX]; /* in the order of the guest's ports */
    size_t net_count;

    /*
     * Below the host's folders, or for a systemd unit below /run/chrimg-NAME/chrimg
     * and /var/lib/chrimg-NAME/chrimg.  The folders are to be made with mode 0700.
     */
    char *runtime_folder; /* of this instance */
    char *state_folder;
    char *qmp_socket;
    char *serial_socket;
    char *agent_socket; /* NULL when there is no channel */
    char *pid_file;
    char *log_file;        /* for QEMU's stderr; the caller redirects it */
    char *serial_log;      /* QEMU writes there what the guest says on its serial line */
    enum chr_ready ready;  /* what can be waited for, given the networks */
    bool serial_on_stdio;  /* -i with --print, --script or --readconfig */

    char notes[VM_NOTES_MAX][CHR_FINDING_SIZE]; /* for the user, a line each */
    size_t note_count;
};

/* Bytes: a guest's memory where nothing else is asked for, and what --vfio locks beside it. */
#define VM_USUAL_MEMORY (UINT64_C(256) << 20)
#define VM_LOCKED_BESIDE (UINT64_C(64) << 20)

/* A name: 1 to CHR_BOOT_NAME_MAX of letters, digits, '.', '_', '-', the first neither '.' nor '-'. */
int vm_name_check(const char *name, struct chr_error *err);

/*
 * Decide.  On error PLAN is all zero.  CHR_E_REFUSED: what was asked for cannot
 * work here, and why; CHR_E_MISSING: something is not installed; CHR_E_USAGE:
 * options that exclude each other; CHR_E_BUSY: a port is taken.
 * Release with vm_plan_release(), which is fine with a plan of zeros.
 */
int vm_plan_make(const struct vm_host *host, const struct vm_image *image,
                 const struct chr_boot_options *options, struct vm_plan *plan,
                 struct chr_error *err);
void vm_plan_release(struct vm_plan *plan);

#endif
