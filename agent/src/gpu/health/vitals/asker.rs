//! A reader of one GPU that also keeps what an error says about the whole GPU, and how much was answered at all.

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_try},
};
use nvml_wrapper_sys::bindings::nvmlReturn_t;

use crate::gpu::{
    raw::fields::{Field, Value, field_values},
    reading::{Absent, Reader, is_by_design},
    worker::Progress,
};

/// A return code that speaks of the whole GPU, whatever was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// `NVML_ERROR_RESET_REQUIRED`.
    ResetRequired,
    /// `NVML_ERROR_INSUFFICIENT_POWER`: the board's power cables are not in.
    PowerCable,
    /// `NVML_ERROR_IRQ_ISSUE`: the driver gets no interrupts of it.
    Interrupts,
    /// `NVML_ERROR_CORRUPTED_INFOROM`.
    Inforom,
}

impl Trouble {
    fn of(error: &NvmlError) -> Option<Self> {
        Some(match error {
            NvmlError::ResetRequired => Self::ResetRequired,
            NvmlError::InsufficientPower => Self::PowerCable,
            NvmlError::IrqIssue => Self::Interrupts,
            NvmlError::CorruptedInfoROM => Self::Inforom,
            _ => return None,
        })
    }
}

/// What was said beside the figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// NVML says that the GPU is lost.
    pub lost: bool,
    /// Each once, with the call that said it first.
    pub troubles: Vec<(Trouble, &'static str)>,
    /// How many figures have a value, and how many were refused for another reason than that the board does not have them.
    pub answered: u32,
    pub refused: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Asker<'a> {
    progress: &'a Progress,
    reader: Reader<'a>,
    said: Said,
}

/// One field value: what it is called in the answer, its number, and the call for whoever reads why it is absent.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub field: &'static str,
    pub id: u32,
    pub call: &'static str,
}

/// What came back for a batch of field values.
#[derive(Debug)]
pub struct Batch(Vec<(Field, Result<Value, NvmlError>)>);

impl<'a> Asker<'a> {
    pub fn new(progress: &'a Progress) -> Self {
        Self { progress, reader: Reader::new(progress), said: Said::default() }
    }

    /// Makes `call` and keeps its value, or the reason why `field` has none.
    pub fn read<T>(
        &mut self,
        field: &'static str,
        call: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        let value = self.check(field, call, ask);
        self.said.answered += u32::from(value.is_some());
        value
    }

    /// The same for what is no figure: that it succeeds says nothing about the GPU.
    pub fn check<T>(
        &mut self,
        field: &'static str,
        call: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        let said = &mut self.said;
        self.reader.read(field, call, || {
            let answer = ask();
            if let Err(error) = &answer {
                said.note(error, call);
            }
            answer
        })
    }

    /// Keeps what another call brought.
    pub fn keep<T>(&mut self, asked: Asked, answer: Result<T, NvmlError>) -> Option<T> {
        if let Err(error) = &answer
            && !self.reader.is_lost()
        {
            self.said.note(error, asked.call);
        }
        let value = self.reader.keep(asked.field, asked.call, answer);
        self.said.answered += u32::from(value.is_some());
        value
    }

    /// Makes a call whose outcome [`keep`](Self::keep) is given later.
    pub fn during<T>(
        &self,
        call: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<T, NvmlError> {
        self.progress.during(call, ask)
    }

    /// Asks for many field values in one call.
    pub fn batch(&mut self, d: &Device<'_>, fields: Vec<Field>) -> Batch {
        if self.reader.is_lost() || fields.is_empty() {
            return Batch(Vec::new());
        }
        // A number that the driver does not know yet. That the whole call is refused says nothing of the kind.
        let known = |answer| match answer {
            Err(NvmlError::InvalidArg) => Err(NvmlError::FunctionNotFound),
            answer => answer,
        };
        let answers: Vec<_> =
            match self.during("nvmlDeviceGetFieldValues", || field_values(d, &fields)) {
                Ok(answers) => answers.into_iter().map(known).collect(),
                Err(error) => {
                    let code = code(error);
                    fields.iter().map(|_| Err(again(code))).collect()
                }
            };
        Batch(fields.into_iter().zip(answers).collect())
    }

    /// Keeps the value of one field of the batch, or the reason why it has none.
    pub fn take(&mut self, batch: &mut Batch, asked: Asked) -> Option<Value> {
        let answer = batch.answer(Field { id: asked.id, scope: 0 });
        self.keep(asked, answer)
    }

    pub fn count(&mut self, batch: &mut Batch, asked: Asked) -> Option<u64> {
        self.take(batch, asked).and_then(Value::unsigned)
    }

    pub fn flag(&mut self, batch: &mut Batch, asked: Asked) -> Option<bool> {
        self.count(batch, asked).map(|value| value != 0)
    }

    /// The plain reader, for parts of a view that others share.
    pub fn reader(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }

    pub fn into_parts(self) -> (Said, Vec<Absent>) {
        let Self { progress: _, reader, mut said } = self;
        said.lost |= reader.is_lost();
        (said, reader.into_absent())
    }
}

impl Said {
    /// An error, by what it says of the whole GPU.
    fn note(&mut self, error: &NvmlError, call: &'static str) {
        self.lost |= matches!(error, NvmlError::GpuLost);
        self.refused += u32::from(!is_by_design(error));
        if let Some(trouble) = Trouble::of(error)
            && self.troubles.iter().all(|(known, _)| *known != trouble)
        {
            self.troubles.push((trouble, call));
        }
    }
}

impl Batch {
    /// What came back for a field; one that was not asked for is not supported.
    pub fn answer(&mut self, field: Field) -> Result<Value, NvmlError> {
        let place = self.0.iter().position(|(asked, _)| *asked == field);
        place.map_or(Err(NvmlError::NotSupported), |place| self.0.swap_remove(place).1)
    }
}

fn code(error: NvmlError) -> nvmlReturn_t {
    match error {
        NvmlError::FailedToLoadSymbol(_) => NvmlError::FunctionNotFound.into(),
        other => other.into(),
    }
}

fn again(code: nvmlReturn_t) -> NvmlError {
    nvml_try(code).err().unwrap_or(NvmlError::Unknown)
}
