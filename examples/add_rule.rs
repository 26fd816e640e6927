//! A rewrite rule from outside the compiler, used by the pass `fold` beside its own.
//!
//! The rule knows that |x| + x is twice ReLU. One addition and one activation become one activation and a factor, which the
//! layers around it absorb.
//!
//! ```text
//! cargo run -p fhec --example add_rule
//! ```

use fhec::ir::Module;
use fhec::ir::nn::Nn;
use fhec::ir::text::{Blobs, parse_module, print_module};
use fhec::passes::fold::{Fold, Rule};

const PROGRAM: &str = "
func @f(%0: tensor<1x4>) -> tensor<1x4> {
  %1 = nn.activation %0 {function = abs} : tensor<1x4>
  %2 = nn.add %1, %0 : tensor<1x4>
  return %2
}
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rule = Rule::pattern(
        "absolute-plus-itself",
        "(add (activation{function=abs} ?x) ?x)",
        "(mul (activation{function=relu} ?x) ?2)",
        &[],
    )
    .says("|x| + x = 2·relu(x)");
    let module: Module<Nn> = parse_module("f.fhir", PROGRAM, &Blobs::default())?;
    let (folded, explanation) = Fold::default().with_rule(rule).explain(&module)?;
    let text = print_module(&folded);
    println!("{text}\n{explanation}");
    if text.contains("relu") && explanation.to_string().contains("absolute-plus-itself") {
        Ok(())
    } else {
        Err("the rule did not fire".into())
    }
}
