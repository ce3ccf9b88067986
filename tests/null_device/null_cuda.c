/* A CUDA device that computes nothing: as much of libcudart, libcuda and cuBLAS as torch and Triton
 * call. Memory is accounted and runs out; kernels return at once; what is copied from the device is
 * zero. The device's memory is address space without pages: a host that touches it crashes, as it
 * does on a GPU.
 *
 * Read at each use from the environment: NULL_GPU_NAME, NULL_GPU_COUNT, NULL_GPU_BYTES (of each
 * device) and NULL_GPU_FAIL_AT, the number of launches after which every call fails, as after an
 * illegal access. Handles are never freed.
 */
#define _GNU_SOURCE
#include <driver_types.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Callers pass more arguments than these definitions name; nobody reads them. */
#define NOTHING(name) int name(void) { return 0; }
#define STATUS(name) int name(void) { return status(); }
#define LAUNCH(name) int name(void) { null_launches++; return status(); }
#define WAIT(name) int name(void) { null_waits++; return status(); }
#define HANDLE(name) int name(void **handle) { *handle = calloc(1, 64); return 0; }
#define ANSWER(name, type, value) int name(type *answer) { *answer = (value); return 0; }
#define ANSWER_2(name, type, value) int name(void *a, type *answer) { *answer = (value); return 0; }

enum { MAX_DEVICES = 16, DRIVER_BYTES = 600 << 20 /* of an H100, before torch has any */ };

/* What tests count. */
unsigned long long null_launches, null_waits;
unsigned long long null_copies_to_device, null_bytes_to_device, null_copies_aside;
unsigned long long null_copies_aside_to_host;

static __thread int device;

static const char *option(const char *name, const char *usual) {
    return getenv(name) ? getenv(name) : usual;
}

static size_t capacity(void) { return strtoull(option("NULL_GPU_BYTES", "85029158912"), 0, 10); }

static int status(void) {
    unsigned long long last = strtoull(option("NULL_GPU_FAIL_AT", "0"), 0, 10);
    return last && null_launches > last ? cudaErrorIllegalAddress : cudaSuccess;
}

/* Memory. The owner of a block is a device, or HOST for pinned memory. */

enum { HOST = -1 };
typedef struct Block { char *start; size_t size; int owner; struct Block *next; } Block;
static Block *blocks;
static size_t used[MAX_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int allocate(void **pointer, size_t size, int owner) {
    int error = cudaSuccess, access = owner == HOST ? PROT_READ | PROT_WRITE : PROT_NONE;
    pthread_mutex_lock(&lock);
    if (owner != HOST && used[owner] + size + DRIVER_BYTES > capacity()) {
        error = cudaErrorMemoryAllocation;
    } else {
        *pointer = mmap(0, size, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        Block *block = malloc(sizeof *block);
        *block = (Block){*pointer, size, owner, blocks};
        blocks = block;
        if (owner != HOST) used[owner] += size;
    }
    pthread_mutex_unlock(&lock);
    return error ? error : status();
}
int cudaMalloc(void **pointer, size_t size) { return allocate(pointer, size, device); }
int cudaHostAlloc(void **pointer, size_t size) { return allocate(pointer, size, HOST); }

static Block **link_to(char *pointer) { /* to the block that holds it, or to 0 */
    Block **link = &blocks;
    while (*link && !(pointer >= (*link)->start && pointer < (*link)->start + (*link)->size))
        link = &(*link)->next;
    return link;
}

int cudaFree(void *pointer) {
    pthread_mutex_lock(&lock);
    Block **link = link_to(pointer), *block = *link;
    if (block) {
        *link = block->next;
        if (block->owner != HOST) used[block->owner] -= block->size;
        munmap(block->start, block->size);
        free(block);
    }
    pthread_mutex_unlock(&lock);
    return status();
}
int cudaFreeHost(void *pointer) { return cudaFree(pointer); }

int cudaMemGetInfo(size_t *free, size_t *total) {
    *total = capacity();
    *free = *total - DRIVER_BYTES - used[device];
    return status();
}

int cudaPointerGetAttributes(struct cudaPointerAttributes *found, void *pointer) {
    *found = (struct cudaPointerAttributes){.type = cudaMemoryTypeUnregistered};
    pthread_mutex_lock(&lock);
    Block *block = *link_to(pointer);
    if (block) {
        found->type = block->owner == HOST ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
        found->device = block->owner == HOST ? 0 : block->owner;
        found->devicePointer = found->hostPointer = pointer;
    }
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    if (kind == cudaMemcpyDeviceToHost) {
        memset(to, 0, size);
        null_copies_aside_to_host += stream != 0;
    }
    if (kind == cudaMemcpyHostToHost) memcpy(to, from, size);
    if (kind == cudaMemcpyHostToDevice) {
        null_copies_to_device++;
        null_bytes_to_device += size;
        null_copies_aside += stream != 0; /* not on the default stream */
    }
    return status();
}
int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    null_waits++;
    return cudaMemcpyAsync(to, from, size, kind, 0);
}
STATUS(cudaMemset) STATUS(cudaMemsetAsync)

/* The device, with the limits of an H100. The driver's attributes have the runtime's numbers. */

static const int ATTRIBUTES[][2] = {
    {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0},
    {cudaDevAttrMultiProcessorCount, 132}, {cudaDevAttrWarpSize, 32},
    {cudaDevAttrMaxThreadsPerBlock, 1024}, {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrMaxSharedMemoryPerBlock, 49152}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
    {cudaDevAttrMaxRegistersPerBlock, 65536}, {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
    {cudaDevAttrClockRate, 1980000}, {cudaDevAttrL2CacheSize, 52428800},
};

int cudaDeviceGetAttribute(int *value, int attribute) {
    *value = 1;
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (ATTRIBUTES[i][0] == attribute) *value = ATTRIBUTES[i][1];
    return cudaSuccess;
}
int cuDeviceGetAttribute(int *value, int which) { return cudaDeviceGetAttribute(value, which); }

int cudaGetDeviceProperties(struct cudaDeviceProp *found) {
    *found = (struct cudaDeviceProp){
        .totalGlobalMem = capacity(), .major = 9, .multiProcessorCount = 132, .warpSize = 32,
        .maxThreadsPerBlock = 1024, .maxThreadsPerMultiProcessor = 2048,
        .maxBlocksPerMultiProcessor = 32,
        .maxThreadsDim = {1024, 1024, 64}, .maxGridSize = {2147483647, 65535, 65535},
        .sharedMemPerBlock = 49152, .sharedMemPerBlockOptin = 232448,
        .sharedMemPerMultiprocessor = 233472, .regsPerBlock = 65536,
        .regsPerMultiprocessor = 65536, .l2CacheSize = 52428800,
    };
    strncpy(found->name, option("NULL_GPU_NAME", "NVIDIA H100 80GB HBM3"), sizeof found->name - 1);
    return cudaSuccess;
}
int cudaGetDeviceProperties_v2(void *found) { return cudaGetDeviceProperties(found); } /* CUDA 12 */

int cudaSetDevice(int chosen) { device = chosen; return cudaSuccess; }
ANSWER(cudaGetDevice, int, device)
ANSWER(cudaGetDeviceCount, int, atoi(option("NULL_GPU_COUNT", "1")))
ANSWER(cuDeviceGetCount, int, atoi(option("NULL_GPU_COUNT", "1")))
ANSWER(cudaDriverGetVersion, int, 13000)
ANSWER(cudaRuntimeGetVersion, int, 13000)
ANSWER(cuDriverGetVersion, int, 13000)
ANSWER(cudaDeviceCanAccessPeer, int, 0)
int cudaDeviceGetPCIBusId(char *id, int size) { strncpy(id, "0000:01:00.0", size); return 0; }

/* Streams, none of which is captured, and events, which have the host's time. */

HANDLE(cudaStreamCreateWithPriority) STATUS(cudaGetLastError) STATUS(cudaPeekAtLastError)
STATUS(cudaStreamQuery) STATUS(cudaEventQuery)
WAIT(cudaDeviceSynchronize) WAIT(cudaStreamSynchronize) WAIT(cudaEventSynchronize)
NOTHING(cudaStreamWaitEvent) NOTHING(cudaThreadExchangeStreamCaptureMode)
NOTHING(cudaStreamDestroy) NOTHING(cudaEventDestroy)
ANSWER_2(cudaStreamIsCapturing, int, 0)
ANSWER_2(cudaStreamGetCaptureInfo, int, 0)
ANSWER_2(cudaStreamGetPriority, int, 0)
int cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = 0, *most = -5; return 0; }
HANDLE(cudaEventCreateWithFlags)
int cudaEventRecord(struct timespec *event) {
    clock_gettime(CLOCK_MONOTONIC, event);
    return status();
}
int cudaEventRecordWithFlags(struct timespec *event) { return cudaEventRecord(event); }
int cudaEventElapsedTime(float *ms, struct timespec *begin, struct timespec *end) {
    *ms = (end->tv_sec - begin->tv_sec) * 1e3 + (end->tv_nsec - begin->tv_nsec) / 1e6;
    return status();
}

/* Kernels: nvcc's, then Triton's. */

LAUNCH(cudaLaunchKernel) LAUNCH(__cudaLaunchKernel) LAUNCH(cudaLaunchKernelExC)
NOTHING(__cudaPushCallConfiguration) NOTHING(__cudaPopCallConfiguration)
NOTHING(cudaFuncSetAttribute) HANDLE(__cudaGetKernel) HANDLE(cudaGetSymbolAddress)
ANSWER(cudaOccupancyMaxActiveBlocksPerMultiprocessor, int, 2)
ANSWER(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int, 2)
int cudaFuncGetAttributes(struct cudaFuncAttributes *found) {
    *found = (struct cudaFuncAttributes){.maxThreadsPerBlock = 1024, .numRegs = 64,
                                         .binaryVersion = 90, .ptxVersion = 90};
    return cudaSuccess;
}
int cudaGetDriverEntryPointByVersion(const char *name, void **function) {
    extern int cuInit(void);
    *function = (void *)cuInit; /* whatever it is, it does nothing */
    return cudaSuccess;
}

LAUNCH(cuLaunchKernel) LAUNCH(cuLaunchKernelEx) LAUNCH(cuLaunchCooperativeKernel)
HANDLE(cuModuleLoad) HANDLE(cuModuleLoadData) HANDLE(cuModuleGetFunction)
HANDLE(cuDevicePrimaryCtxRetain) HANDLE(cuCtxGetCurrent) NOTHING(cuInit) NOTHING(cuCtxSetCurrent)
NOTHING(cuModuleUnload) NOTHING(cuFuncSetAttribute) NOTHING(cuFuncSetCacheConfig)
int cuDevicePrimaryCtxGetState(int of, int *flags, int *on) { *flags = 0, *on = 1; return 0; }
ANSWER(cuDeviceGet, int, 0) ANSWER(cuCtxGetDevice, int, 0)
ANSWER(cuFuncGetAttribute, int, 0) ANSWER(cuOccupancyMaxActiveClusters, int, 2)
ANSWER_2(cuGetErrorString, const char *, "an error of the null device")
ANSWER(cuPointerGetAttribute, void *, 0) ANSWER_2(cuStreamIsCapturing, int, 0)
ANSWER(cuCtxGetLimit, size_t, 0) NOTHING(cuCtxSetLimit)
ANSWER(cuOccupancyMaxActiveBlocksPerMultiprocessor, int, 2)

/* cuBLAS. cuDNN has nothing here, and torch asks whether it may use it. */

HANDLE(cublasCreate_v2) HANDLE(cublasLtCreate) HANDLE(cublasLtMatmulDescCreate)
HANDLE(cublasLtMatrixLayoutCreate) HANDLE(cublasLtMatmulPreferenceCreate)
LAUNCH(cublasGemmEx) LAUNCH(cublasSgemm_v2) LAUNCH(cublasSgemmEx) LAUNCH(cublasGemmStridedBatchedEx)
LAUNCH(cublasSgemmStridedBatched) LAUNCH(cublasLtMatmul) LAUNCH(cublasSgemv_v2)
NOTHING(cublasSetStream_v2) NOTHING(cublasSetWorkspace_v2) NOTHING(cublasSetMathMode)
NOTHING(cublasSetPointerMode_v2) NOTHING(cublasLtMatmulDescSetAttribute) NOTHING(cublasDestroy_v2)
NOTHING(cublasLtMatrixLayoutSetAttribute) NOTHING(cublasLtMatmulPreferenceSetAttribute)
ANSWER_2(cublasGetMathMode, int, 0) ANSWER_2(cublasGetPointerMode_v2, int, 0)
NOTHING(cublasLtMatmulDescDestroy) NOTHING(cublasLtMatrixLayoutDestroy)
NOTHING(cublasLtMatmulPreferenceDestroy)
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *product, void *a, void *b, void *c, void *d,
                                   void *preference, int wanted, void *algorithms, int *count) {
    memset(algorithms, 0, 88); /* of one cublasLtMatmulHeuristicResult_t */
    *count = 1;
    return 0;
}
_Bool _ZNK2at7Context16userEnabledCuDNNEv(void) { return 0; }
_Bool _ZNK2at7Context19userEnabledCuDNNSDPEv(void) { return 0; }
