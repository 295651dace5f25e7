//! Matrix products by cuBLASLt: weights transposed, as layers of networks hold them.

use super::driver::Context;
use super::functions;
use super::memory::Buffer;
use super::queue::Stream;
use core::ffi::{c_int, c_void};
use std::rc::Rc;

functions! { Functions: "libcublasLt.so.12";
    fn cublasLtCreate(*mut *mut c_void);
    fn cublasLtDestroy(*mut c_void);
    fn cublasLtMatmulDescCreate(*mut *mut c_void, c_int, c_int);
    fn cublasLtMatmulDescDestroy(*mut c_void);
    fn cublasLtMatmulDescSetAttribute(*mut c_void, c_int, *const c_void, usize);
    fn cublasLtMatrixLayoutCreate(*mut *mut c_void, c_int, u64, u64, i64);
    fn cublasLtMatrixLayoutDestroy(*mut c_void);
    fn cublasLtMatmulPreferenceCreate(*mut *mut c_void);
    fn cublasLtMatmulPreferenceSetAttribute(*mut c_void, c_int, *const c_void, usize);
    fn cublasLtMatmulPreferenceDestroy(*mut c_void);
    fn cublasLtMatmulAlgoGetHeuristic(*mut c_void, *mut c_void, *mut c_void, *mut c_void, *mut c_void, *mut c_void, *mut c_void, c_int,
        *mut Choice, *mut c_int);
    fn cublasLtMatmul(*mut c_void, *mut c_void, *const c_void, u64, *mut c_void, u64, *mut c_void, *const c_void, u64, *mut c_void, u64,
        *mut c_void, *const [u64; 8], u64, usize, *mut c_void);
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Choice {
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// `CUBLASLT_MATMUL_DESC_TRANSA`, `CUBLAS_OP_T`, `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`.
const TRANSPOSE_A: c_int = 3;
const TRANSPOSED: c_int = 1;
const MOST_WORKSPACE: c_int = 1;

/// Room for split inner dimensions: what the vendor advises for its newest parts.
const WORKSPACE: usize = 32 << 20;

/// A number format of operands with what cuBLASLt calls it.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::probe::cuda) struct Format {
    /// Word of the tables.
    pub(in crate::probe::cuda) word: &'static str,
    /// Bytes of an operand's element.
    pub(in crate::probe::cuda) bytes: usize,
    /// Bytes of a result's element.
    pub(in crate::probe::cuda) result_bytes: usize,
    /// Bits of random words that stay, and bits that are set: numbers of this format between a half and one of both signs.
    pub(in crate::probe::cuda) random: (u64, u64),
    /// `cudaDataType` of operands, of the result, `cublasComputeType_t`, `cudaDataType` of factors.
    types: (c_int, c_int, c_int, c_int),
}

impl Format {
    /// Formats that are measured.
    pub(in crate::probe::cuda) const ALL: [Self; 5] = [
        Self::new("bf16", 2, 2, (0x807f_807f_807f_807f, 0x3f00_3f00_3f00_3f00), (14, 14, 68, 0)),
        Self::new("fp8", 1, 2, (0x8787_8787_8787_8787, 0x3030_3030_3030_3030), (28, 14, 68, 0)),
        Self::new("fp16", 2, 2, (0x83ff_83ff_83ff_83ff, 0x3800_3800_3800_3800), (2, 2, 68, 0)),
        Self::new("tf32", 4, 4, (0x807f_ffff_807f_ffff, 0x3f00_0000_3f00_0000), (0, 0, 77, 0)),
        Self::new("int8", 1, 4, (u64::MAX, 0), (3, 10, 72, 10)),
    ];

    const fn new(word: &'static str, bytes: usize, result_bytes: usize, random: (u64, u64), types: (c_int, c_int, c_int, c_int)) -> Self {
        Self { word, bytes, result_bytes, random, types }
    }
}

/// cuBLASLt, started.
pub(in crate::probe::cuda) struct Blas {
    f: Functions,
    handle: *mut c_void,
}

fn check(call: &str, code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        15 => Err(format!("{call}: not supported by this device")),
        code => Err(format!("{call}: status {code} of cuBLASLt")),
    }
}

impl Blas {
    pub(in crate::probe::cuda) fn open(context: &Context) -> Result<Rc<Self>, String> {
        let names = ["13", "12", "11"].map(|n| format!("libcublasLt.so.{n}"));
        let f = Functions::load(&names)?;
        context.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a place for the answer; destroyed once.
        check("cublasLtCreate", unsafe { (f.cublasLtCreate)(&mut handle) })?;
        Ok(Rc::new(Self { f, handle }))
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once; products hold the library.
        let _ = unsafe { (self.f.cublasLtDestroy)(self.handle) };
    }
}

/// A product `[m, k] x [k, n]` with the kernel that cuBLASLt takes for it.
pub(in crate::probe::cuda) struct Product {
    blas: Rc<Blas>,
    format: Format,
    sizes: (usize, usize, usize),
    operation: *mut c_void,
    layouts: [*mut c_void; 3],
    choice: Choice,
    workspace: Buffer,
}

impl Product {
    pub(in crate::probe::cuda) fn new(
        blas: &Rc<Blas>,
        context: &Rc<Context>,
        format: Format,
        (m, n, k): (usize, usize, usize),
    ) -> Result<Self, String> {
        let workspace = Buffer::new(context, WORKSPACE.min(context.memory()?.1 as usize / 16))?;
        let null = std::ptr::null_mut();
        let mut out = Self {
            blas: Rc::clone(blas),
            format,
            sizes: (m, n, k),
            operation: null,
            layouts: [null; 3],
            choice: Choice::default(),
            workspace,
        };
        let f = &blas.f;
        let (operand, result, compute, factor) = format.types;
        // SAFETY: places for answers; whatever was made is destroyed with `out`, on errors as well.
        unsafe {
            check("cublasLtMatmulDescCreate", (f.cublasLtMatmulDescCreate)(&mut out.operation, compute, factor))?;
            let word = std::ptr::from_ref(&TRANSPOSED).cast();
            check("cublasLtMatmulDescSetAttribute", (f.cublasLtMatmulDescSetAttribute)(out.operation, TRANSPOSE_A, word, 4))?;
            // By columns: weights k x n, inputs k x m, results n x m.
            for (layout, (kind, rows, columns)) in out.layouts.iter_mut().zip([(operand, k, n), (operand, k, m), (result, n, m)]) {
                let code = (f.cublasLtMatrixLayoutCreate)(layout, kind, rows as u64, columns as u64, rows as i64);
                check("cublasLtMatrixLayoutCreate", code)?;
            }
        }
        out.choose()?;
        Ok(out)
    }

    fn choose(&mut self) -> Result<(), String> {
        let f = &self.blas.f;
        let (mut preference, mut found) = (std::ptr::null_mut(), 0);
        let most = self.workspace.bytes() as u64;
        let [a, b, c] = self.layouts;
        // SAFETY: places for answers; the preference is destroyed before it is left.
        unsafe {
            check("cublasLtMatmulPreferenceCreate", (f.cublasLtMatmulPreferenceCreate)(&mut preference))?;
            let place = std::ptr::from_ref(&most).cast();
            let set = check(
                "cublasLtMatmulPreferenceSetAttribute",
                (f.cublasLtMatmulPreferenceSetAttribute)(preference, MOST_WORKSPACE, place, 8),
            );
            let code = (f.cublasLtMatmulAlgoGetHeuristic)(
                self.blas.handle,
                self.operation,
                a,
                b,
                c,
                c,
                preference,
                1,
                &mut self.choice,
                &mut found,
            );
            let _ = (f.cublasLtMatmulPreferenceDestroy)(preference);
            set.and_then(|()| check("cublasLtMatmulAlgoGetHeuristic", code))?;
        }
        if found < 1 { Err("cuBLASLt has no kernel for this product".into()) } else { Ok(()) }
    }

    /// Queues the product of operands that lie in buffers from offsets on.
    pub(in crate::probe::cuda) fn queue(
        &self,
        weights: (&Buffer, usize),
        inputs: (&Buffer, usize),
        results: (&Buffer, usize),
        stream: &Stream,
    ) -> Result<(), String> {
        let (m, n, k) = self.sizes;
        let needs =
            [(weights, n * k * self.format.bytes), (inputs, m * k * self.format.bytes), (results, m * n * self.format.result_bytes)];
        if needs.iter().any(|((buffer, at), bytes)| at + bytes > buffer.bytes()) {
            return Err("an operand does not fit into its buffer".into());
        }
        stream.context().enter()?;
        let [a, b, c] = self.layouts;
        let (one, zero) = if self.format.types.3 == 10 { (1u32, 0u32) } else { (1.0f32.to_bits(), 0) };
        let (alpha, beta) = (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast());
        let [pa, pb, pc] = [weights, inputs, results].map(|(buffer, at)| buffer.at(at));
        // SAFETY: operands were checked against their buffers; factors are read before the call returns.
        let code = unsafe {
            (self.blas.f.cublasLtMatmul)(
                self.blas.handle,
                self.operation,
                alpha,
                pa,
                a,
                pb,
                b,
                beta,
                pc,
                c,
                pc,
                c,
                &self.choice.algorithm,
                self.workspace.at(0),
                self.workspace.bytes(),
                stream.raw(),
            )
        };
        check("cublasLtMatmul", code)
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let f = &self.blas.f;
        // SAFETY: each was created once, or is null and left alone.
        unsafe {
            for layout in self.layouts.into_iter().filter(|l| !l.is_null()) {
                let _ = (f.cublasLtMatrixLayoutDestroy)(layout);
            }
            if !self.operation.is_null() {
                let _ = (f.cublasLtMatmulDescDestroy)(self.operation);
            }
        }
    }
}
