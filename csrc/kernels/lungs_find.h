// The structural steps of lungs on the coarse grid. All throw CANCELLED. Masks hold 0/1; `side` holds 0, 1 left, 2
// right.
#pragma once
#include <cstdint>

#include "kernels/lungs_grid.h"

namespace covfast::coarse {

constexpr int kAerated = -500;  // HU: surely air or aerated lung, whatever the voxel size
constexpr int kEdge = -400;     // HU: halfway from lung (-850) to soft tissue (50); the lung's outline follows it
constexpr float kBall_mm = 10;  // radius of the ball that closes vessels, hilar and pleural dents
constexpr uint8_t kLeft = 1, kRight = 2;

struct Exterior {
    Mask mask;     // air and padding around the body, table and clothes included
    float gas_hu;  // what pure air reads in this scan
};
Exterior find_exterior(const Grid& grid, const int16_t* hu);

struct Lungs {
    Mask side;    // aerated lung
    Mask airway;  // trachea, main bronchi, stomach and bowel gas
    Mask exterior;
};
// Throws NO_LUNGS.
Lungs find_lungs(Grid grid, const int16_t* hu);

// A connected part of a mask.
struct Piece {
    int32_t label;
    double ml, mean_hu, sd_hu;
    double centre_mm[3];
    int64_t first, last;  // slices [first, last)
};
// Pieces of at least `least_ml`, largest first.
std::vector<Piece> measure(const Grid& grid, const int16_t* hu, const Components& parts, double least_ml);

// Splits aerated lung into left and right. `cores` are its deep parts and `pieces` what they measure.
Mask split_sides(const Grid& grid, const int16_t* hu, const Mask& lung, const Components& cores,
                 const std::vector<Piece>& pieces);

// Adds what belongs to a lung without being aerated: vessels and lesions inside it, hilar and pleural dents up to a
// ball's size, consolidations between aerated lung and the chest wall.
void close_lungs(Grid grid, const int16_t* hu, Lungs& lungs, const Mask& aerated);

// Adds soft tissue between the back of one lung and the ribs to that lung's mask, where it is consolidated.
void add_to_ribs(const Grid& grid, const int16_t* hu, const Mask& allowed, uint8_t me, Mask& lung);

}  // namespace covfast::coarse
