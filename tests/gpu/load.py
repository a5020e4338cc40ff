"""A small CUDA load through the driver's own library: no toolkit, no framework, nothing compiled.

    python3 load.py --seconds 30           every GPU computes, with a little of its memory taken
    python3 load.py --fault                one GPU writes to an address that is none: the driver reports Xid 31

The first line that it prints says that the GPUs are at work, or what the process id is that the fault will be of. The kernel
is PTX, which the driver compiles for whatever GPU there is. Exit 1, and why, where CUDA refuses.
"""

import argparse
import ctypes
import os
import sys
import time

PTX = b"""\
.version 6.0
.target sm_50
.address_size 64
.visible .entry turn(.param .u64 out, .param .u32 rounds)
{
    .reg .pred %p; .reg .u32 %i, %n, %t, %b, %s; .reg .f32 %f; .reg .u64 %o, %a;
    ld.param.u64 %o, [out];
    cvta.to.global.u64 %o, %o;
    ld.param.u32 %n, [rounds];
    mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mov.u32 %s, %ntid.x;
    mad.lo.u32 %t, %b, %s, %t;
    cvt.rn.f32.u32 %f, %t;
    mov.u32 %i, 0;
again:
    fma.rn.f32 %f, %f, 0f3F800001, 0f3F000000;
    add.u32 %i, %i, 1;
    setp.lt.u32 %p, %i, %n;
    @%p bra again;
    mul.wide.u32 %a, %t, 4;
    add.u64 %a, %a, %o;
    st.global.f32 [%a], %f;
    ret;
}
"""
BLOCKS, THREADS = 1024, 256
# Some milliseconds on any board: the way to the driver and back does not show in its utilisation.
ROUNDS = 200_000


class Cuda:
    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(code, ctypes.byref(text))
            raise RuntimeError(f"{name}: {(text.value or b'?').decode()} ({code})")

    def count(self):
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value


class Gpu:
    def __init__(self, cuda, ordinal):
        self.cuda, self.context = cuda, ctypes.c_void_p()
        device = ctypes.c_int()
        cuda.call("cuDeviceGet", ctypes.byref(device), ordinal)
        cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.enter()
        module, self.kernel = ctypes.c_void_p(), ctypes.c_void_p()
        cuda.call("cuModuleLoadData", ctypes.byref(module), PTX)
        cuda.call("cuModuleGetFunction", ctypes.byref(self.kernel), module, b"turn")
        self.memory = ctypes.c_uint64()
        cuda.call("cuMemAlloc_v2", ctypes.byref(self.memory), ctypes.c_size_t(512 << 20))

    def enter(self):
        self.cuda.call("cuCtxSetCurrent", self.context)

    def launch(self, out, rounds):
        self.enter()
        out, rounds = ctypes.c_uint64(out), ctypes.c_uint32(rounds)
        arguments = (ctypes.c_void_p * 2)(ctypes.addressof(out), ctypes.addressof(rounds))
        shape = [ctypes.c_uint(n) for n in (BLOCKS, 1, 1, THREADS, 1, 1, 0)]
        self.cuda.call("cuLaunchKernel", self.kernel, *shape, None, arguments, None)

    def wait(self):
        self.enter()
        self.cuda.call("cuCtxSynchronize")


def fault(cuda):
    gpu = Gpu(cuda, 0)
    print(f"process {os.getpid()} writes to address 8 of GPU 0", flush=True)
    gpu.launch(8, 1)
    try:
        gpu.wait()
    except RuntimeError as error:
        print(f"as intended: {error}", flush=True)
    else:
        sys.exit("the write to address 8 was not refused")


def load(cuda, seconds):
    gpus = [Gpu(cuda, ordinal) for ordinal in range(cuda.count())]
    if not gpus:
        sys.exit("CUDA has no GPU")
    print(f"{len(gpus)} GPUs compute for {seconds:g} s", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for gpu in gpus:
            gpu.launch(gpu.memory.value, ROUNDS)
        for gpu in gpus:
            gpu.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--fault", action="store_true", help="write to address 8 of the first GPU, and nothing else")
    options = parser.parse_args()
    try:
        cuda = Cuda()
        fault(cuda) if options.fault else load(cuda, options.seconds)
    except (OSError, RuntimeError) as error:
        sys.exit(f"load: {error}")


if __name__ == "__main__":
    main()
