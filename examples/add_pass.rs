//! A pass from outside the compiler: counts as one registration, and runs beside the passes of the project.
//!
//! The pass removes a ReLU whose operand is a ReLU, which changes nothing.
//!
//! ```text
//! cargo run -p fhec --example add_pass
//! ```

use fhec::ir::nn::{Activation, NnOp};
use fhec::ir::text::{Blobs, parse_any};
use fhec::ir::{Module, Nn};
use fhec::passes::program::Program;
use fhec::passes::registry::{PassContext, Registry, Within};
use fhec::passes::{Pass, PassError};

/// The pass `drop-second-relu`.
struct DropSecondRelu;

fn is_relu(op: &NnOp) -> bool {
    matches!(op, NnOp::Activation { function: Activation::Relu, .. })
}

impl Pass<Nn> for DropSecondRelu {
    fn name(&self) -> &'static str {
        "drop-second-relu"
    }

    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        module.rebuild(|out, _, node, operands| {
            if is_relu(&node.op) && is_relu(&module.func.node(node.operands[0]).op) {
                return Ok(operands[0]);
            }
            Ok(out.func.push_unchecked(node.op.clone(), operands, node.ty.clone(), node.loc.clone()))
        })
    }
}

const PROGRAM: &str = "
func @twice(%0: tensor<1x4>) -> tensor<1x4> {
  %1 = nn.activation %0 {function = relu} : tensor<1x4>
  %2 = nn.activation %1 {function = relu} : tensor<1x4>
  return %2
}
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::standard();
    registry.register(Within::new(DropSecondRelu, "one ReLU in place of two"));
    let program = Program::new(parse_any("twice.fhir", PROGRAM, &Blobs::default())?);
    let made = registry.run(&["drop-second-relu", "verify"], program, &mut PassContext::default())?;
    let text = made.module.text();
    println!("{text}");
    if text.matches("relu").count() == 1 { Ok(()) } else { Err("one ReLU was expected".into()) }
}
