//! `auto-ai-router`: see `cli` for the verbs.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    auto_ai_router::cli::main()
}
