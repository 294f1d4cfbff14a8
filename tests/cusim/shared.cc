/* The storage behind `extern __shared__ ... smem_raw[]`: dynamic shared memory is always called that. */
alignas(128) thread_local unsigned char smem_raw[227 * 1024];
extern "C" unsigned char *cusim_dynamic_shared(void) { return smem_raw; }
