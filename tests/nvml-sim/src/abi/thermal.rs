//! Temperatures, power, fans.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, Tagged, Versioned as _};
use crate::engine::code::Code;
use crate::engine::gpu::{Gpu, thermal::Fan};

/// NVML has one sensor.
fn sensor(gpu: &Gpu, sensor: sys::nvmlTemperatureSensors_t) -> Result<i32, Code> {
    match sensor {
        sys::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU => gpu.thermal.gpu_celsius.get(),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

fn one_fan(gpu: &Gpu, fan: u32) -> Result<&Fan, Code> {
    let fans = &gpu.thermal.fans;
    let missing = if fans.is_empty() { Code::NOT_SUPPORTED } else { Code::INVALID_ARGUMENT };
    fans.get(fan as usize).ok_or(missing)
}

export! {
    device fn nvmlDeviceGetTemperature(
        (_, gpu), kind: sys::nvmlTemperatureSensors_t, celsius: Out<u32>,
    ) {
        celsius.set(sensor(gpu, kind)?.cast_unsigned())
    }

    device fn nvmlDeviceGetTemperatureV((_, gpu), temperature: Tagged<sys::nvmlTemperature_t>) {
        type Info = sys::nvmlTemperature_v1_t;
        let asked: Info = temperature.read()?;
        let celsius = sensor(gpu, asked.sensorType)?;
        temperature.set(Info { version: Info::TAG, sensorType: asked.sensorType, temperature: celsius })
    }

    device fn nvmlDeviceGetTemperatureThreshold(
        (_, gpu), kind: sys::nvmlTemperatureThresholds_t, celsius: Out<u32>,
    ) {
        celsius.set(gpu.thermal.thresholds_celsius.by_kind(kind)?)
    }

    device fn nvmlDeviceGetMarginTemperature((_, gpu), margin: Tagged<sys::nvmlMarginTemperature_t>) {
        type Info = sys::nvmlMarginTemperature_v1_t;
        margin.set(Info { version: Info::TAG, marginTemperature: gpu.thermal.margin_celsius.get()? })
    }

    device fn nvmlDeviceGetPowerUsage((_, gpu), mw: Out<u32>) { mw.set(gpu.power.usage_mw.get()?) }

    device fn nvmlDeviceGetEnforcedPowerLimit((_, gpu), mw: Out<u32>) {
        mw.set(gpu.power.enforced_limit_mw.get()?)
    }

    device fn nvmlDeviceGetPowerManagementLimit((_, gpu), mw: Out<u32>) {
        mw.set(gpu.power.requested_limit_mw.get()?)
    }

    device fn nvmlDeviceGetPowerManagementDefaultLimit((_, gpu), mw: Out<u32>) {
        mw.set(gpu.power.default_limit_mw.get()?)
    }

    device fn nvmlDeviceGetPowerManagementLimitConstraints((_, gpu), min_mw: Out<u32>, max_mw: Out<u32>) {
        let (min, max) = (gpu.power.min_limit_mw.get()?, gpu.power.max_limit_mw.get()?);
        min_mw.set(min)?;
        max_mw.set(max)
    }

    device fn nvmlDeviceGetTotalEnergyConsumption((_, gpu), mj: Out<u64>) { mj.set(gpu.power.energy_mj.get()?) }

    device fn nvmlDeviceGetNumFans((_, gpu), fans: Out<u32>) {
        fans.set(u32::try_from(gpu.thermal.fans.len()).map_err(|_| Code::UNKNOWN)?)
    }

    /// Of the first fan. A board without one does not support it.
    device fn nvmlDeviceGetFanSpeed((_, gpu), percent: Out<u32>) {
        percent.set(gpu.thermal.fans.first().ok_or(Code::NOT_SUPPORTED)?.speed_percent.get()?)
    }

    device fn nvmlDeviceGetFanSpeed_v2((_, gpu), fan: u32, percent: Out<u32>) {
        percent.set(one_fan(gpu, fan)?.speed_percent.get()?)
    }

    device fn nvmlDeviceGetFanSpeedRPM((_, gpu), speed: Tagged<sys::nvmlFanSpeedInfo_t>) {
        type Info = sys::nvmlFanSpeedInfo_v1_t;
        let asked: Info = speed.read()?;
        let rpm = one_fan(gpu, asked.fan)?.speed_rpm.get()?;
        speed.set(Info { version: Info::TAG, fan: asked.fan, speed: rpm })
    }
}
