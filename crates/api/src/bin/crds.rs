//! Prints the custom resource definition.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", leadergroup_api::crd_yaml()?);
    Ok(())
}
