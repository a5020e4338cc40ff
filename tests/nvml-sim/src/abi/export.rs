//! What every exported function does before and after its own work.
//!
//! In this order: the call is traced; no session is `UNINITIALIZED`; a null pointer, a text that is not UTF-8 or a handle
//! that is none is `INVALID_ARGUMENT`; the faults of the scenario strike, those of the node and then those of the GPU; a
//! lost GPU is `GPU_IS_LOST`; then the function's body answers, of the node as it is by then.
//! A panic anywhere becomes `UNKNOWN` instead of unwinding into C.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nvml_wrapper_sys::bindings as sys;

use crate::engine::code::Code;
use crate::engine::faults::Subject;
use crate::engine::trace;

/// Runs a call and turns its outcome into the number that C gets.
pub fn call(symbol: &str, body: impl FnOnce() -> Result<(), Code>) -> sys::nvmlReturn_t {
    let traced = || {
        trace::note(symbol);
        body()
    };
    match catch_unwind(AssertUnwindSafe(traced)) {
        Ok(Ok(())) => sys::nvmlReturn_enum_NVML_SUCCESS,
        Ok(Err(code)) => code.number(),
        Err(_) => Code::UNKNOWN.number(),
    }
}

/// The kinds of functions that `export!` knows, by the words it has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the macro makes the variants from its keywords")]
pub enum Kind {
    library,
    session,
    lookup,
    device,
    part,
}

impl Kind {
    /// Whether faults of this subject strike functions of this kind.
    #[must_use]
    pub fn is_about(self, subject: Subject) -> bool {
        match self {
            Self::library | Self::session => subject == Subject::Node,
            Self::lookup => true,
            Self::device | Self::part => subject == Subject::Gpu,
        }
    }
}

/// Declares exported functions. Each line reads `kind fn name(context, argument: Shape, …) { body }`, where a
/// [`Shape`](super::args::Shape) says how the argument looks to C and what the body gets of it, and the body is a
/// `Result<_, Code>`. The kinds:
/// - `library`: needs no session; the context is the [`Library`](crate::engine::library::Library).
/// - `session`: the context is the [`Session`](crate::engine::library::Session).
/// - `lookup`: as `session`; the body finds a GPU, whose handle goes into a last argument added here.
/// - `device`: a GPU's handle is added as first argument; the context is the session and the GPU, `(session, gpu)`.
/// - `part`: as `device`, for what MIG devices answer too; the context is `(session, gpu, mig)`, of which `mig` is the MIG
///   device where the handle is of one.
macro_rules! export {
    ($($(#[$meta:meta])* $kind:ident fn $name:ident($context:tt $(, $arg:ident: $shape:ty)* $(,)?) $body:block)*) => {
        /// The functions of this file.
        pub const SYMBOLS: &[(&str, $crate::abi::export::Kind)] =
            &[$((stringify!($name), $crate::abi::export::Kind::$kind)),*];

        $(export!(@$kind [$(#[$meta])*] $name($context $(, $arg: $shape)*) $body);)*

        /// Compiles only while each function has the very type that the bindings give it.
        #[cfg(test)]
        const _: fn(&nvml_wrapper_sys::bindings::NvmlLib) = |library| {
            fn same<F, E>(_: &Result<F, E>, _: F) {}
            $(same(&library.$name, $name);)*
        };
    };
    (@library [$($meta:tt)*] $name:ident($library:tt $(, $arg:ident: $shape:ty)*) $body:block) => {
        export!(@item [$($meta)*] $name() ($($arg: $shape),*) () {
            let $library = &$crate::engine::library::LIBRARY;
            export!(@adopt $($arg: $shape),*);
            $body
        });
    };
    (@session [$($meta:tt)*] $name:ident($session:tt $(, $arg:ident: $shape:ty)*) $body:block) => {
        export!(@item [$($meta)*] $name() ($($arg: $shape),*) () {
            let session = $crate::engine::library::LIBRARY.session()?;
            export!(@adopt $($arg: $shape),*);
            let session = session.through_driver(stringify!($name))?;
            let $session = &session;
            $body
        });
    };
    (@lookup [$($meta:tt)*] $name:ident($session:tt $(, $arg:ident: $shape:ty)*) $body:block) => {
        export!(@item [$($meta)*] $name()
            ($($arg: $shape),*) (found: $crate::abi::args::Out<nvml_wrapper_sys::bindings::nvmlDevice_t>)
        {
            let session = $crate::engine::library::LIBRARY.session()?;
            export!(@adopt $($arg: $shape,)* found: $crate::abi::args::Out<nvml_wrapper_sys::bindings::nvmlDevice_t>);
            let session = session.through_driver(stringify!($name))?;
            let $session = &session;
            let gpu: &$crate::engine::gpu::Gpu = $body?;
            let index = gpu.index;
            session.clone().through_gpu(stringify!($name), index)?;
            found.set($crate::abi::handle::device(index))
        });
    };
    (@device [$($meta:tt)*] $name:ident(($session:tt, $gpu:tt) $(, $arg:ident: $shape:ty)*) $body:block) => {
        export!(@item [$($meta)*] $name(device: nvml_wrapper_sys::bindings::nvmlDevice_t) ($($arg: $shape),*) () {
            let session = $crate::engine::library::LIBRARY.session()?;
            export!(@adopt $($arg: $shape),*);
            let index = $crate::abi::handle::gpu(&session.node, device)?.index;
            let session = session.through_driver(stringify!($name))?.through_gpu(stringify!($name), index)?;
            let $session = &session;
            let $gpu = session.node.by_index(index)?.now();
            $body
        });
    };
    (@part [$($meta:tt)*] $name:ident(($session:tt, $gpu:tt, $mig:tt) $(, $arg:ident: $shape:ty)*) $body:block) => {
        export!(@item [$($meta)*] $name(device: nvml_wrapper_sys::bindings::nvmlDevice_t) ($($arg: $shape),*) () {
            let session = $crate::engine::library::LIBRARY.session()?;
            export!(@adopt $($arg: $shape),*);
            let index = $crate::abi::handle::part(&session.node, device)?.0.index;
            let session = session.through_driver(stringify!($name))?.through_gpu(stringify!($name), index)?;
            let (gpu, mig) = $crate::abi::handle::part(&session.node, device)?;
            let ($session, $gpu, $mig) = (&session, gpu, mig);
            $body
        });
    };
    (@item [$($meta:tt)*] $name:ident($($first:ident: $first_type:ty)?)
        ($($arg:ident: $shape:ty),*) ($($last:ident: $last_shape:ty)?) $body:block) => {
        $($meta)*
        ///
        /// # Safety
        /// As the header of NVML has it: pointers are null or valid for what the function reads and writes through
        /// them, lengths and counts say how much that is, and texts end in a null.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($first: $first_type,)?
            $($arg: <$shape as $crate::abi::args::Shape>::C,)*
            $($last: <$last_shape as $crate::abi::args::Shape>::C,)?
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            $crate::abi::export::call(stringify!($name), || $body)
        }
    };
    (@adopt $($arg:ident: $shape:ty),*) => {
        $(
            // SAFETY: The argument comes straight from the caller, who vouches for it as the function demands.
            let $arg = unsafe { <$shape as $crate::abi::args::Shape>::adopt($arg) }?;
        )*
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_reach_c() {
        assert_eq!(call("", || panic!("on purpose")), 999);
        assert_eq!(call("", || Err(Code::TIMEOUT)), 10);
        assert_eq!(call("", || Ok(())), 0);
    }
}
