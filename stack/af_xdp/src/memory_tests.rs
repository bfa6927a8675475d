use super::*;

/// What the kernel says of the mapping that `address` lies in.
fn flags_of(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_in = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((start, end)) = range
            && let (Ok(start), Ok(end)) =
                (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
        {
            is_in = (start..end).contains(&address);
        } else if is_in && let Some(flags) = line.strip_prefix("VmFlags: ") {
            return flags.to_owned();
        }
    }
    panic!("no mapping holds {address:x}");
}

#[test]
#[cfg_attr(miri, ignore = "reads the kernel's account of the mappings")]
fn a_large_allocation_may_come_on_huge_pages() {
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    for bytes in [LARGE_BYTES, LARGE_BYTES + 5 * 4096] {
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: the layout has a size, and the memory is given back with the same one.
        let flags = unsafe {
            let base = HugePages.alloc_zeroed(layout);
            // The first whole huge page holds this byte, wherever the allocation begins.
            let flags = flags_of(base.addr() + HUGE_PAGE_BYTES - 1);
            HugePages.dealloc(base, layout);
            flags
        };
        assert!(flags.split(' ').any(|flag| flag == "hg"), "{bytes} bytes: {flags}");
    }
}

#[test]
fn what_was_written_survives_growing_past_a_huge_page() {
    let small = Layout::from_size_align(4096, 16).unwrap();
    // SAFETY: the sizes are those of the layouts, and what is read was written or zeroed before.
    unsafe {
        let base = HugePages.alloc(small);
        base.write_bytes(7, small.size());
        let base = HugePages.realloc(base, small, LARGE_BYTES);
        assert!((0..small.size()).all(|at| base.add(at).read() == 7));
        HugePages.dealloc(base, Layout::from_size_align(LARGE_BYTES, 16).unwrap());
    }
}
