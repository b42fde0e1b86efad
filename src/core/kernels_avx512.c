/* The avx512 table: AVX-512 F, VL, BW, DQ: 32 registers of 16 lanes. */
#include "simd_avx512.h"

#define SC_ISA avx512
#define SC_TILE_ROWS 6
#define SC_CELLS 4
#define SC_SINGLE_PANELS 2

#include "kernels_body.h"
