// The numbers of the threads that work on one parallel_for.
#pragma once

namespace sx {

// 0 on the thread that called, and from 1 to usable_cpus() - 1 on workers; no two threads of one call share a number.
int thread_number();

}  // namespace sx
